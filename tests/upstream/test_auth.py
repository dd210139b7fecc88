"""The dialogue of one request, step by step, without any client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import Overloaded
from proxy.upstream.auth import (
    PING,
    Answer,
    Asked,
    Credentials,
    Demand,
    GetToken,
    Login,
    Memory,
    Probe,
    Reply,
    Secret,
    Send,
    Step,
    dialogue,
)

SCOPE = "repository:lib/app:pull"
ASKED = Asked(SCOPE)
REALM = "https://auth.test/token"
OPEN = Reply(200)
BEARER = Reply(401, (f'Bearer realm="{REALM}",service="s"',))
BASIC = Reply(401, ('Basic realm="registry"',))
USER = Credentials("u", Secret("p"))
DEMAND = Demand(REALM, "s", SCOPE)
OLD, NEW = Secret("old"), Secret("new")


def steps(memory: Memory, asked: Asked, *answers: Answer) -> list[Step]:
    """Return the steps of a dialogue that ends with the last of these answers."""
    run = dialogue(memory, asked)
    seen = [next(run)]
    for number, answer in enumerate(answers, 1):
        try:
            seen.append(run.send(answer))
        except StopIteration:
            assert number == len(answers), f"it ended after {seen}"
            return seen
    pytest.fail(f"it did not end after {seen}")


def taught(reply: Reply = BEARER, scope: str = SCOPE) -> Memory:
    """Return the memory of an upstream that has challenged like this."""
    memory = Memory()
    if reply is BASIC:
        memory.learn(scope, Demand())
    else:
        memory.learn(scope, DEMAND)
    return memory


def test_dialogue__open_upstream() -> None:
    """Whoever challenges nobody is sent no credentials."""
    assert [Probe(PING), Send(None)] == steps(Memory(), ASKED, OPEN, OPEN)


def test_dialogue__first_contact_asks_the_ping() -> None:
    """The ping tells that tokens are wanted: the request goes with one at once."""
    assert [
        Probe(PING),
        GetToken(DEMAND),
        Send(Secret("Bearer new")),
    ] == steps(Memory(), ASKED, BEARER, NEW, OPEN)


def test_dialogue__the_ping_is_asked_once() -> None:
    """What the upstream demanded of one request is known for the next, of another scope too."""
    memory = Memory()
    steps(memory, ASKED, BEARER, NEW, OPEN)
    other = Asked("repository:other:pull,push", has_body=True)

    assert [
        GetToken(Demand(REALM, "s", "repository:other:pull,push")),
        Send(Secret("Bearer new")),
    ] == steps(memory, other, NEW, OPEN)


def test_dialogue__challenged_behind_an_open_ping() -> None:
    """A request that is challenged itself is sent again, with the scope of its challenge."""
    reply = Reply(401, (f'Bearer realm="{REALM}",service="s",scope="special"',))
    memory = Memory()

    assert [
        Probe(PING),
        Send(None),
        GetToken(Demand(REALM, "s", "special")),
        Send(Secret("Bearer new")),
    ] == steps(memory, ASKED, OPEN, reply, NEW, OPEN)
    # And the next one asks for that scope by itself.
    assert GetToken(Demand(REALM, "s", "special")) == steps(memory, ASKED, NEW, OPEN)[0]


def test_dialogue__refused_token_one_retry() -> None:
    """After a 401 one other token is tried; another 401 is the end."""
    assert [
        GetToken(DEMAND),
        Send(Secret("Bearer old")),
        GetToken(DEMAND, refused=OLD),
        Send(Secret("Bearer new")),
    ] == steps(taught(), ASKED, OLD, BEARER, NEW, BEARER)


def test_dialogue__the_same_token_is_not_sent_twice() -> None:
    """If there is no other token, the 401 stands."""
    found = steps(taught(), ASKED, OLD, BEARER, OLD)

    assert 1 == sum(isinstance(step, Send) for step in found)


def test_dialogue__basic() -> None:
    """Basic credentials are sent as they are."""
    assert [Probe(PING), Login(), Send(Secret("Basic dTpw"))] == steps(
        Memory(), ASKED, BASIC, USER, OPEN
    )


def test_dialogue__basic_with_a_new_password() -> None:
    """Refused credentials are looked up anew; what is the same is not sent again."""
    refused = Login(Secret("Basic dTpw"))
    newer = Credentials("u", Secret("q"))

    assert [Login(), Send(USER.basic), refused, Send(newer.basic)] == steps(
        taught(BASIC), ASKED, USER, BASIC, newer, BASIC
    )
    assert [Login(), Send(USER.basic), refused] == steps(taught(BASIC), ASKED, USER, BASIC, USER)


def test_dialogue__basic_without_credentials() -> None:
    """Who has none asks anonymously and lets the 401 stand."""
    assert [Login(), Send(None), Login()] == steps(taught(BASIC), ASKED, None, BASIC, None)


def test_dialogue__bearer_before_basic() -> None:
    """Of two challenges the Bearer one is met."""
    both = Reply(401, (*BASIC.challenges, *BEARER.challenges))

    assert GetToken(DEMAND) == steps(Memory(), ASKED, both, NEW, OPEN)[1]


def test_dialogue__a_changed_upstream() -> None:
    """An upstream that goes over from Basic to tokens is followed at once."""
    assert [Login(), Send(USER.basic), GetToken(DEMAND), Send(Secret("Bearer new"))] == steps(
        taught(BASIC), ASKED, USER, BEARER, NEW, OPEN
    )


@pytest.mark.parametrize("lines", [(), ("Negotiate",), ('Bearer service="s"',)])
def test_dialogue__a_challenge_that_nobody_can_meet(lines: tuple[str, ...]) -> None:
    """A 401 without Basic or a realm stands."""
    unknown = Reply(401, lines)

    assert [Probe(PING), Send(None)] == steps(Memory(), ASKED, unknown, unknown)


def test_dialogue__a_body_is_sent_once() -> None:
    """A refused upload is not sent again, but its client may: the next token is there."""
    memory = taught()
    steps(memory, ASKED, OLD, OPEN)
    run = dialogue(memory, Asked(SCOPE, has_body=True))

    assert GetToken(DEMAND) == next(run)
    assert Send(Secret("Bearer old")) == run.send(OLD)
    assert GetToken(DEMAND, refused=OLD) == run.send(BEARER)
    with pytest.raises(Overloaded, match="come again"):
        run.send(NEW)


def test_dialogue__a_body_behind_a_challenge_of_its_own() -> None:
    """Where the upstream tells only now what it demands, coming again helps."""
    special = Reply(401, (f'Bearer realm="{REALM}",service="s",scope="special"',))
    for memory, answers in ((Memory(), (OPEN, BEARER, NEW)), (taught(), (OLD, special, NEW))):
        with pytest.raises(Overloaded, match="come again"):
            steps(memory, Asked(SCOPE, has_body=True), *answers)


def test_dialogue__a_body_that_no_token_is_good_for() -> None:
    """A token that was never accepted has not ended: the 401 is the answer, each time."""
    memory = taught()
    for old, new in ((OLD, NEW), (NEW, Secret("newer"))):
        found = steps(memory, Asked(SCOPE, has_body=True), old, BEARER, new)

        assert 1 == sum(isinstance(step, Send) for step in found)


def test_dialogue__a_body_refused_for_good() -> None:
    """If nothing better is known the 401 stands for an upload too."""
    found = steps(taught(), Asked(SCOPE, has_body=True), OLD, BEARER, OLD)

    assert 1 == sum(isinstance(step, Send) for step in found)


REPLIES = st.builds(
    Reply,
    st.sampled_from([200, 401, 401, 403, 404]),
    st.lists(
        st.sampled_from([*BASIC.challenges, *BEARER.challenges, "Negotiate", 'Bearer realm=""']),
        max_size=2,
    ).map(tuple),
)


@given(st.data(), st.booleans())
def test_dialogue__always_ends(data: st.DataObject, has_body: bool) -> None:
    """Whatever is answered, a request is sent at most twice, and once with a body."""
    memory = Memory()
    sent: list[Step] = []
    for _ in range(3):
        sent.clear()
        run = dialogue(memory, Asked(SCOPE, has_body=has_body))
        answer: Answer = None
        try:
            step = next(run)
            while True:
                if isinstance(step, Send | Probe):
                    sent += [step] if isinstance(step, Send) else []
                    answer = data.draw(REPLIES)
                elif isinstance(step, GetToken):
                    answer = data.draw(st.sampled_from([OLD, NEW]))
                else:
                    answer = data.draw(st.sampled_from([None, USER]))
                step = run.send(answer)
        except (StopIteration, Overloaded):
            assert 1 <= len(sent) <= (1 if has_body else 2)
            assert len(sent) == len(set(sent))


def test_secret__never_shown() -> None:
    """What holds secrets does not show them when it is printed."""
    shown = Credentials(
        "u",
        Secret("planted-hunter2"),
        identity_token=Secret("planted-hunter2"),
        registry_token=Secret("planted-hunter2"),
    )

    for thing in (
        shown,
        Send(Secret("planted-hunter2")),
        GetToken(DEMAND, Secret("planted-hunter2")),
    ):
        assert "planted-hunter2" not in repr(thing)
        assert "planted-hunter2" not in f"{thing}"
    assert "Basic dTpwbGFudGVkLWh1bnRlcjI=" == shown.basic
