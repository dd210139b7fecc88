"""Behind a registry that speaks TLS, clients plain: `python -m bench.tls`.

nginx serves files over TLS; the proxy and an nginx fetch them from it, in turn. The proxy checks
the certificate, nginx does not, which costs it one handshake less of a second's hundredth. Both
encrypt nothing: they decrypt what comes. The blob's cost beside it is what TLS costs each.
"""

from __future__ import annotations

import contextlib

from msgspec.structs import replace

from bench.blobs import MIB, WHOLE, Way, read
from bench.command import command
from bench.figures import Figure, Report, spread, table
from bench.load import OLD_DOCKER, Load, apply
from bench.processes import nginx, place, proxy
from bench.static import BLOBS, MANIFESTS, static
from tests.certificates import Authority

# As many connections stay open as the proxy would keep.
_FRONT = """\
    upstream registry {{ server 127.0.0.1:{behind}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{{port}};
        location / {{
            proxy_pass {scheme}://registry;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {buffers}
        }}
    }}
"""
_BIG_BUFFERS = (
    "proxy_buffer_size 512k; proxy_buffers 8 512k; proxy_busy_buffers_size 1m;"
    " proxy_max_temp_file_size 0;"
)


def report(rounds: int, mib: int, seconds: float) -> Report:
    """Measure blobs and warm tags, both with TLS behind and without."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(place())
        authority = Authority(directory)
        pair = authority.issue("registry")
        size = mib * MIB
        upstream = stack.enter_context(
            static(directory, images=1, blobs={WHOLE: size}, certificate=pair)
        )
        trust = {"upstream": {"ca_file": str(authority.file)}}
        secure = stack.enter_context(
            proxy(directory, f"https://127.0.0.1:{upstream.port}", **trust)
        )
        fronts = [
            stack.enter_context(
                nginx(
                    directory,
                    _FRONT.format(behind=upstream.port, scheme="https", buffers=buffers),
                )
            )
            for buffers in ("", _BIG_BUFFERS)
        ]
        ways = [
            Way("regshim", secure.port, secure.pid),
            Way("nginx, default buffering", fronts[0].port, fronts[0].pid),
            Way("nginx, 512 KiB buffers", fronts[1].port, fronts[1].pid),
        ]
        for way in ways:
            read(way.port, BLOBS + WHOLE, 1)
        load = Load(port=secure.port, path=MANIFESTS + "t0", headers=OLD_DOCKER, seconds=seconds)
        apply(replace(load, requests=100))
        rates = []
        for _ in range(rounds):
            for way in ways:
                way.measure(WHOLE, size, 1)
            rates.append(apply(load).rate)
    rows = [
        (
            way.name,
            spread(way.speeds[WHOLE]).text(0, 1 / MIB),
            spread(way.cpu[WHOLE]).text(),
        )
        for way in ways
    ]
    header = (f"1 stream of {mib} MiB, TLS behind", "MiB/s", "CPU s per GiB")
    own = ways[0].speeds[WHOLE]
    figures = [
        Figure.ratio(f"blob, TLS behind: speed ÷ {way.name}", own, way.speeds[WHOLE])
        for way in ways[1:]
    ]
    figures.append(
        Figure.of(
            "warm tag GET, TLS behind, 16 connections: requests/s", rates, least=0, digits=0
        )._replace(target=None)
    )
    return Report(table(header, rows), figures)


def main() -> None:
    """Read the arguments and print the tables."""
    command(__doc__, report, rounds=9, mib=1024, seconds=2.0)


if __name__ == "__main__":
    main()
