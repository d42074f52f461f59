"""A Hub in memory on loopback: create, upload (regular and LFS), list and download; python tests/hub_double.py PORT

It implements the endpoints that `huggingface_hub` calls for whole-folder pushes (to branches and pull requests too),
snapshots and `load_dataset`, with tokens and private repositories. It makes trouble when a test asks for it.
"""

import base64
import hashlib
import json
import re
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

REPOS: dict[tuple[str, str], dict] = {}
BLOBS: dict[str, bytes] = {}
MEANWHILE: list[tuple[str, Callable[[], None]]] = []
"""What others do at the first request ``METHOD path`` that fits a pattern, just before it is answered."""
TROUBLE: list[dict] = []
REQUESTS: list[str] = []
"""Every request as ``METHOD path``, the oldest first."""
TOKENS = {"hf_" + "x" * 20: ("user", "write"), "hf_" + "r" * 20: ("user", "read"), "hf_" + "o" * 20: ("other", "write")}
ORGANISATIONS = {"user": ("ulab-ai",)}
LOCK = threading.Lock()
KIND = r"(models|datasets|spaces)"
REPO = r"([\w.-]+/[\w.-]+)"
LFS_SUFFIXES = re.compile(r"\.(safetensors|parquet|bin)$")


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def entry(path: str, data: bytes, lfs: bool) -> dict:
    result = {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
    if lfs:
        result["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return result


def trouble(match: str, status: int | None = None, times: int = 1, drop: str | None = None, **headers: str) -> None:
    """Make trouble for requests ``METHOD path`` that fit a pattern, so many times: answer with a status, or (None) cut
    the connection; `drop` instead loses this file of a commit and answers that all is well.
    """
    TROUBLE.append({"match": match, "status": status, "times": times, "drop": drop, "headers": headers})


def new_commit(repo: dict, ref: str, files: dict, message: str) -> str:
    repo["commits"] += 1
    sha = hashlib.sha1(f"{repo['name']} {repo['commits']}".encode()).hexdigest()
    repo["refs"][ref] = sha
    repo["history"][sha] = dict(files)
    repo["log"].append({"ref": ref, "sha": sha, "message": message})
    if ref == "main":
        repo["files"] = repo["history"][sha]
    return sha


def resolve(repo: dict, revision: str) -> str | None:
    """Commit of a branch, ``refs/pr/N`` or commit."""
    revision = revision.removeprefix("refs/heads/")
    return revision if revision in repo["history"] else repo["refs"].get(revision)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, code, body=None, raw=None, headers=None):
        data = raw if raw is not None else json.dumps(body).encode() if body is not None else b""
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        if raw is None:
            self.send_header("Content-Type", "application/json")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, code, kind, message=None):
        self.reply(code, {"error": message or kind}, headers={"X-Error-Code": kind, "X-Error-Message": message or kind})

    @property
    def who(self) -> tuple[str | None, str | None]:
        """(name, role) of the token; (None, None) without one, (None, "wrong") for an unknown one."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return TOKENS.get(token, (None, "wrong")) if token else (None, None)

    def may(self, name: str, repo: dict | None, write: bool = False) -> bool:
        """Whether the token may do that; if not, the refusal is sent, as the Hub words it."""
        user, role = self.who
        owner = user is not None and name.split("/")[0] in (user, *ORGANISATIONS.get(user, ()))
        if role == "wrong":
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif write and user is None:
            self.refuse(401, "", "Invalid username or password.")
        elif repo is None or (repo["private"] and not owner):
            self.refuse(401 if user is None else 404, "RepoNotFound", "Repository not found")
        elif write and not (owner and role == "write"):
            self.refuse(403, "", "Forbidden: pass a token with write access")
        else:
            return True
        return False

    def in_trouble(self, path: str) -> bool:
        for each in [each for each in MEANWHILE if re.search(each[0], f"{self.command} {path}")]:
            MEANWHILE.remove(each)
            each[1]()
        for each in TROUBLE:
            if each["times"] and each["drop"] is None and re.search(each["match"], f"{self.command} {path}"):
                each["times"] -= 1
                if each["status"] is None:
                    self.rfile.read(min(1000, int(self.headers.get("Content-Length") or 0)))
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                else:
                    self.read_body()
                    headers = {k.replace("_", "-"): v for k, v in each["headers"].items()}
                    self.reply(each["status"], {"error": "trouble"}, headers=headers)
                return True
        return False

    def read_body(self) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def handle_any(self):
        url = urlsplit(self.path)
        REQUESTS.append(f"{self.command} {unquote(url.path)}")
        if self.in_trouble(unquote(url.path)):
            return None
        query, body = parse_qs(url.query), self.read_body()
        with LOCK:
            for pattern, method in ROUTES:
                # A revision with slashes stands quoted in the path.
                match = re.fullmatch(pattern, url.path)
                if match:
                    return method(self, [part and unquote(part) for part in (match[0], *match.groups())], query, body)
            return self.refuse(404, "NotFound")

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = handle_any

    @property
    def base(self) -> str:
        return f"http://{self.headers['Host']}"

    def whoami(self, match, query, body):
        user, role = self.who
        if user is None:
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        token = {"type": "access_token", "accessToken": {"displayName": "t", "role": role}}
        self.reply(200, {"type": "user", "name": user, "fullname": "u", "orgs": [], "auth": token})

    def check_yaml(self, match, query, body):
        text = json.loads(body)["content"]
        errors = [] if text.startswith("---\n") else [{"message": "empty or missing yaml metadata"}]
        self.reply(200, {"errors": errors, "warnings": []})

    def create(self, match, query, body):
        wanted = json.loads(body)
        kind = wanted.get("type") or "model"
        name = f"{wanted.get('organization') or self.who[0]}/{wanted['name']}"
        url = f"{self.base}/{'' if kind == 'model' else kind + 's/'}{name}"
        old = REPOS.get((kind + "s", name))
        private = wanted.get("visibility") == "private"
        if not self.may(name, old or {"private": False}, write=True):
            return None
        if old:
            return self.reply(409, {"error": "You already created this repo", "url": url})
        if kind == "space" and not wanted.get("sdk"):
            return self.refuse(400, "", "a Space needs an sdk")
        repo = {"name": f"{kind} {name}", "private": private, "refs": {}, "history": {}, "log": [], "commits": -1}
        new_commit(repo, "main", {".gitattributes": (b"", False)}, "initial commit")
        REPOS[kind + "s", name] = repo
        self.reply(200, {"url": url, "name": name, "id": name})

    def lfs_batch(self, match, query, body):
        if match[3] == "verify":
            return self.reply(200, {})
        objects = []
        for wanted in json.loads(body)["objects"]:
            actions = {
                "upload": {"href": f"{self.base}/__blobs__/{wanted['oid']}"},
                "verify": {"href": f"{self.base}{match[0][: -len('batch')]}verify"},
            }
            known = wanted["oid"] in BLOBS
            objects.append({**wanted, "authenticated": True, **({} if known else {"actions": actions})})
        self.reply(200, {"transfer": "basic", "objects": objects})

    def blob(self, match, query, body):
        if self.command == "PUT":
            BLOBS[match[1]] = body
            return self.reply(200)
        self.reply(200, raw=BLOBS[match[1]], headers={"ETag": f'"{match[1]}"'})

    def api(self, match, query, body):
        _, kind, name, verb, revision, rest = match
        rest = rest or ""
        repo = REPOS.get((kind, name))
        writes = verb in ("commit", "branch", "preupload") and "create_pr" not in query
        if not self.may(name, repo, writes):
            return None
        if verb in (None, "revision"):
            return self.info(name, repo, revision or "main")
        if verb == "refs":
            heads = [{"name": r, "ref": f"refs/heads/{r}", "targetCommit": s} for r, s in repo["refs"].items()]
            return self.reply(200, {"branches": heads, "tags": [], "converts": []})
        if verb == "branch":
            if revision in repo["refs"]:
                return self.refuse(409, "", "Reference already exists")
            repo["refs"][revision] = repo["refs"]["main"]
            return self.reply(201, {})
        method = {"preupload": self.preupload, "commit": self.commit, "tree": self.tree, "paths-info": self.paths}
        if verb not in method:
            return self.refuse(404, "NotFound")
        if revision == "refs":  # not quoted: refs/pr/1, refs/convert/parquet
            more, _, rest = rest.partition("/")
            last, _, rest = rest.partition("/")
            revision = f"refs/{more}/{last}"
        sha = resolve(repo, revision)
        if sha is None:
            return self.refuse(404, "RevisionNotFound")
        method[verb](name, repo, revision, rest, query, body)

    def info(self, name, repo, revision):
        sha = resolve(repo, revision)
        if sha is None:
            return self.refuse(404, "RevisionNotFound")
        date = "2026-01-01T00:00:00.000Z"
        self.reply(200, {
            "_id": "1", "id": name, "modelId": name, "sha": sha, "private": repo["private"], "disabled": False,
            "gated": False, "tags": [], "downloads": 0, "likes": 0, "lastModified": date, "createdAt": date,
            "siblings": [{"rfilename": f} for f in repo["history"][sha]], "cardData": {},
        })  # fmt: skip

    def preupload(self, name, repo, revision, rest, query, body):
        known = repo["history"][resolve(repo, revision)]
        files = []
        for wanted in json.loads(body)["files"]:
            data, lfs = known.get(wanted["path"], (None, False))
            oid = None if data is None else hashlib.sha256(data).hexdigest() if lfs else git_oid(data)
            mode = "lfs" if LFS_SUFFIXES.search(wanted["path"]) else "regular"
            files.append({"path": wanted["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.reply(200, {"files": files, "commitOid": resolve(repo, revision)})

    def commit(self, name, repo, revision, rest, query, body):
        files, message = dict(repo["history"][resolve(repo, revision)]), ""
        lost = {each["drop"] for each in TROUBLE if each["drop"] is not None}
        for line in body.splitlines():
            change = json.loads(line)
            key, value = change["key"], change["value"]
            if key == "header":
                message = value["summary"]
            elif key == "deletedFile":
                files.pop(value["path"], None)
            elif value["path"] in lost:
                continue
            elif key == "file":
                files[value["path"]] = (base64.b64decode(value["content"]), False)
            elif key == "lfsFile":
                files[value["path"]] = (BLOBS[value["oid"]], True)
        answer = {"success": True, "hookOutput": ""}
        if "create_pr" in query:
            number = sum(ref.startswith("refs/pr/") for ref in repo["refs"]) + 1
            revision = f"refs/pr/{number}"
            answer["pullRequestUrl"] = f"{self.base}/{name}/discussions/{number}"
        sha = new_commit(repo, revision, files, message)
        self.reply(200, answer | {"commitOid": sha, "commitUrl": f"{self.base}/{name}/commit/{sha}"})

    def tree(self, name, repo, revision, rest, query, body):
        folder = rest.strip("/")
        prefix = folder + "/" if folder else ""
        recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        items, folders = [], set()
        for path, (data, lfs) in repo["history"][resolve(repo, revision)].items():
            if not path.startswith(prefix):
                continue
            parts = path[len(prefix) :].split("/")
            for i in range(1, len(parts) if recursive else min(len(parts), 2)):
                folders.add(prefix + "/".join(parts[:i]))
            if recursive or len(parts) == 1:
                items.append(entry(path, data, lfs))
        if folder and not items and not folders:
            return self.refuse(404, "EntryNotFound")
        trees = [{"type": "directory", "path": f, "size": 0, "oid": git_oid(f.encode())} for f in sorted(folders)]
        self.reply(200, items + trees)

    def paths(self, name, repo, revision, rest, query, body):
        files = repo["history"][resolve(repo, revision)]
        wanted = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode())["paths"]
        found = [entry(f, *files[f]) for f in wanted if f in files]
        for folder in wanted:
            if folder not in files and any(f.startswith(folder.rstrip("/") + "/") for f in files):
                found.append({"type": "directory", "path": folder, "size": 0, "oid": "0" * 40})
        self.reply(200, found)

    def download(self, match, query, body):
        _, kind, name, revision, path = match
        repo = REPOS.get((kind or "models", name))
        if not self.may(name, repo):
            return None
        sha = resolve(repo, revision)
        if sha is None:
            return self.refuse(404, "RevisionNotFound")
        files = repo["history"][sha]
        if path not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha}
            return self.reply(404, {"error": "EntryNotFound"}, headers=headers)
        data, lfs = files[path]
        tag = hashlib.sha256(data).hexdigest() if lfs else git_oid(data)
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if lfs:
            headers |= {"X-Linked-Etag": f'"{tag}"', "X-Linked-Size": str(len(data))}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if part:
            first, last = int(part[1]), min(int(part[2]) if part[2] else len(data) - 1, len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return self.reply(206, raw=data[first : last + 1], headers=headers)
        self.reply(200, raw=data, headers=headers)


ROUTES = [
    (r"/api/whoami-v2", Handler.whoami),
    (r"/api/validate-yaml", Handler.check_yaml),
    (r"/api/repos/create", Handler.create),
    (rf"/(?:(datasets|spaces)/)?{REPO}\.git/info/lfs/objects/(batch|verify)", Handler.lfs_batch),
    (r"/__blobs__/(\w+)", Handler.blob),
    (rf"/api/{KIND}/{REPO}(?:/([\w-]+)(?:/([^/]*)(?:/(.*))?)?)?", Handler.api),
    (rf"/(?:(datasets|spaces)/)?{REPO}/resolve/([^/]+)/(.+)", Handler.download),
]


def start(port: int = 0) -> ThreadingHTTPServer:
    """Serve on loopback in a thread; `server.server_address[1]` is the port."""
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
