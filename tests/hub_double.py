"""A Hub in memory on loopback: create, upload (regular and LFS), list and download; python tests/hub_double.py PORT

It implements the endpoints that `huggingface_hub` calls for whole-folder pushes, snapshots and `load_dataset`.
"""

import base64
import hashlib
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

REPOS: dict[tuple[str, str], dict] = {}
BLOBS: dict[str, bytes] = {}
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

    def refuse(self, code, kind):
        self.reply(code, {"error": kind}, headers={"X-Error-Code": kind, "X-Error-Message": kind})

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
        path, query, body = unquote(url.path), parse_qs(url.query), self.read_body()
        with LOCK:
            for pattern, method in ROUTES:
                match = re.fullmatch(pattern, path)
                if match:
                    return method(self, match, query, body)
            return self.refuse(404, "NotFound")

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = handle_any

    @property
    def base(self) -> str:
        return f"http://{self.headers['Host']}"

    def whoami(self, match, query, body):
        token = {"type": "access_token", "accessToken": {"displayName": "t", "role": "write"}}
        self.reply(200, {"type": "user", "name": "user", "fullname": "u", "orgs": [], "auth": token})

    def check_yaml(self, match, query, body):
        self.reply(200, {"errors": [], "warnings": []})

    def create(self, match, query, body):
        wanted = json.loads(body)
        kind = wanted.get("type") or "model"
        name = f"{wanted.get('organization') or 'user'}/{wanted['name']}"
        url = f"{self.base}/{'' if kind == 'model' else kind + 's/'}{name}"
        if (kind + "s", name) in REPOS:
            return self.reply(409, {"error": "You already created this repo", "url": url})
        sha = hashlib.sha1(name.encode()).hexdigest()
        REPOS[kind + "s", name] = {"sha": sha, "files": {".gitattributes": (b"", False)}, "commits": 0}
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
        kind, name, verb, rest = match.groups()
        repo = REPOS.get((kind, name))
        if repo is None:
            return self.refuse(404, "RepoNotFound")
        if verb in (None, "revision"):
            return self.info(name, repo, rest)
        method = {"preupload": self.preupload, "commit": self.commit, "tree": self.tree, "paths-info": self.paths}
        if verb == "refs":
            head = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo["sha"]}
            return self.reply(200, {"branches": [head], "tags": [], "converts": []})
        if verb not in method:
            return self.refuse(404, "NotFound")
        method[verb](name, repo, rest or "", query, body)

    def info(self, name, repo, revision):
        if revision and (revision.startswith("refs/") or revision not in ("main", repo["sha"])):
            return self.refuse(404, "RevisionNotFound")
        date = "2026-01-01T00:00:00.000Z"
        self.reply(200, {
            "_id": "1", "id": name, "modelId": name, "sha": repo["sha"], "private": False, "disabled": False,
            "gated": False, "tags": [], "downloads": 0, "likes": 0, "lastModified": date, "createdAt": date,
            "siblings": [{"rfilename": f} for f in repo["files"]], "cardData": {},
        })  # fmt: skip

    def preupload(self, name, repo, rest, query, body):
        files = [
            {"path": f["path"], "uploadMode": "lfs" if LFS_SUFFIXES.search(f["path"]) else "regular",
             "shouldIgnore": False, "oid": None}
            for f in json.loads(body)["files"]
        ]  # fmt: skip
        self.reply(200, {"files": files, "commitOid": repo["sha"]})

    def commit(self, name, repo, rest, query, body):
        for line in body.splitlines():
            change = json.loads(line)
            key, value = change["key"], change["value"]
            if key == "file":
                repo["files"][value["path"]] = (base64.b64decode(value["content"]), False)
            elif key == "lfsFile":
                repo["files"][value["path"]] = (BLOBS[value["oid"]], True)
            elif key == "deletedFile":
                repo["files"].pop(value["path"], None)
        repo["commits"] += 1
        repo["sha"] = hashlib.sha1(f"{name}{repo['commits']}".encode()).hexdigest()
        url = f"{self.base}/{name}/commit/{repo['sha']}"
        self.reply(200, {"success": True, "commitOid": repo["sha"], "commitUrl": url, "hookOutput": ""})

    def tree(self, name, repo, rest, query, body):
        folder = rest.split("/", 1)[1].strip("/") if "/" in rest else ""
        prefix = folder + "/" if folder else ""
        recursive = query.get("recursive", ["false"])[0].lower() in ("true", "1")
        items, folders = [], set()
        for path, (data, lfs) in repo["files"].items():
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

    def paths(self, name, repo, rest, query, body):
        wanted = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode())["paths"]
        found = [entry(f, *repo["files"][f]) for f in wanted if f in repo["files"]]
        for folder in wanted:
            if folder not in repo["files"] and any(f.startswith(folder.rstrip("/") + "/") for f in repo["files"]):
                found.append({"type": "directory", "path": folder, "size": 0, "oid": "0" * 40})
        self.reply(200, found)

    def download(self, match, query, body):
        repo = REPOS.get((match[1] or "models", match[2]))
        if repo is None:
            return self.refuse(404, "RepoNotFound")
        if match[4] not in repo["files"]:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo["sha"]}
            return self.reply(404, {"error": "EntryNotFound"}, headers=headers)
        data, lfs = repo["files"][match[4]]
        tag = hashlib.sha256(data).hexdigest() if lfs else git_oid(data)
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": repo["sha"], "Accept-Ranges": "bytes"}
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
    (rf"/api/{KIND}/{REPO}(?:/([\w-]+)(?:/(.*))?)?", Handler.api),
    (rf"/(?:(datasets|spaces)/)?{REPO}/resolve/([^/]+)/(.+)", Handler.download),
]


def start(port: int = 0) -> ThreadingHTTPServer:
    """Serve on loopback in a thread; `server.server_address[1]` is the port."""
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
