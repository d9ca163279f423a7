#!/usr/bin/env bash
# fsspec 2026.9.0, HTTP file system: opening a file raises FileNotFoundError whatever goes wrong, be it 404, 503 or a server
# that isn't reached.
#
# Seen: from a local server fs.open raises FileNotFoundError for a file that isn't there, for one that is answered by 503
# (busy, try again), and once the server is gone. The true errors, ClientResponseError of status 404 and 503 and
# ClientConnectorError, are only their __cause__. fs.exists says False of all three.
# Most would guess: FileNotFoundError is an answer, the others are no answer and come as other errors, as they do from
# urllib and requests.
# Why it matters: data loaders and caches retry what may pass and act on what is absent: they skip a shard, take an index
# to be missing and make another, or delete their copy. A minute's outage then ends a training at once, or loses its cache.
# Remedy: take a file for absent only if the error's cause has status 404, or there is no cause.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet fsspec==2026.9.0 aiohttp==3.14.5
cat > "$folder/run.py" <<'PYTHON'
import http.server
import threading

import fsspec


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(503 if self.path == "/busy" else 404)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def told(url):
    fs = fsspec.filesystem("http", skip_instance_cache=True)
    try:
        fs.open(url, "rb")
    except Exception as error:
        cause = error.__cause__
        return type(error).__name__, type(cause).__name__, getattr(cause, "status", None), fs.exists(url)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
found = {name: told(f"{url}/{name}") for name in ("absent", "busy")}
server.shutdown()
server.server_close()
found["server gone"] = told(f"{url}/absent")
print("fsspec", fsspec.__version__)
for name, (error, cause, status, exists) in found.items():
    print(f"{name}: {error} from {cause} {status or ''}, exists {exists}")
assert [error for error, *_ in found.values()] == ["FileNotFoundError"] * 3, found
assert [status for _, _, status, _ in found.values()] == [404, 503, None], found
assert not any(exists for *_, exists in found.values()), found
PYTHON
"$folder/env/bin/python" "$folder/run.py"
