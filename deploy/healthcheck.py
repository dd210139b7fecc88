"""Ask the admin port of this container whether the proxy is alive; exit code 0 if it is.

Python alone, for an image without a shell tool that could do it. It asks for life, not for
readiness: an upstream that is down is no reason to start the proxy anew. The port is 5001 or
what the environment says, as for the proxy; a port of the config file is not read.
"""

# ruff: noqa: INP001  a script of the image, in no package

import http.client
import os
import sys


def alive(port: int) -> bool:
    """Tell whether /livez on this port of 127.0.0.1 answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if alive(int(os.environ.get("REGSHIM_ADMIN__PORT", "5001"))) else 1)
