"""thaw data fetch against a server on this machine that can misbehave, and against files as the real sets
have them: archives by Python's tarfile and zipfile, MATLAB's by SciPy, checksums by hashlib.

    test_fetch.py THAW

Exit code 77, skipped, where this build cannot fetch.
"""
import hashlib
import http.server
import io
import json
import os
import resource
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile

import numpy
import scipy.io
from PIL import Image

THAW = os.path.abspath(sys.argv[1])
FILES = {}  # Name: bytes.
MANNERS = {}  # Name: a list of what to do with the next requests; "" is what a good server does.
ASKED = []  # (name, Range) of each request.


class Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass  # The program hangs up where it should.


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        asked = self.headers.get("Range")
        ASKED.append((name, asked))
        todo = MANNERS.get(name) or [""]
        manner = todo.pop(0) if len(todo) > 1 or todo[0] else ""
        if manner == "redirect":
            return self.answer(302, b"", {"Location": "/moved/" + name})
        if manner.isdigit():
            return self.answer(int(manner), b"not a picture")
        body, code, headers = FILES[name], 200, {}
        if asked and "norange" not in manner:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            body, code = body[start:], 206
        if "slow" in manner:
            return self.answer(code, body, headers, slow=True)
        return self.answer(code, body, headers, cut=len(body) // 3 if "cut" in manner else None)

    def answer(self, code, body, headers=None, cut=None, slow=False):
        self.send_response(code)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            if slow:
                for start in range(0, len(body), 1000):
                    self.wfile.write(body[start:start + 1000])
                    self.wfile.flush()
                    time.sleep(0.05)
            else:
                self.wfile.write(body if cut is None else body[:cut])
        except OSError:
            pass
        self.close_connection = True if cut is not None or slow else self.close_connection


def picture(seed):
    rng = numpy.random.default_rng(seed)
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=numpy.uint8)).save(out, "JPEG")
    return out.getvalue()


def tgz(entries):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in entries.items():
            z.writestr(name, data)
    return out.getvalue()


def mat(values, compressed=True):
    out = io.BytesIO()
    scipy.io.savemat(out, values, do_compression=compressed)
    return out.getvalue()


def pictures_in(entries):
    return {name: picture(hash_of(name)) for name in entries}


def hash_of(text):
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def serve(port, name, layout, files, pictures=None):
    """A table of one set, whose files (name: (bytes, split)) the server has."""
    rows = []
    for file, (data, split) in files.items():
        FILES[file] = data
        rows.append({"url": f"http://127.0.0.1:{port}/sets/{file}", "bytes": len(data),
                     "sha256": hashlib.sha256(data).hexdigest()} | ({"split": split} if split else {}))
    table = [{"name": name, "title": "A set", "page": "here", "licence": "any", "checksums": "us",
              "layout": layout, "pictures": pictures or {}, "files": rows}]
    return table


def run(table, name, code, *more, **kwargs):
    with open("table.json", "w", encoding="utf-8") as file:
        json.dump(table, file)
    ASKED.clear()
    done = subprocess.run([THAW, "data", "fetch", name, "--table=table.json", *more],
                          capture_output=True, text=True, timeout=120, check=False, **kwargs)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def tree(folder):
    return sorted(os.path.relpath(os.path.join(root, name), folder)
                  for root, _, names in os.walk(folder) for name in names)


def layouts(port):
    """Each kind of set, as the real ones are packed."""
    photos = pictures_in(f"flower_photos/{k}/{i}.jpg" for k in ("daisy", "rose") for i in range(3))
    FILES_ALL = photos | {"flower_photos/LICENSE.txt": b"by all of them",
                          "flower_photos/._daisy": b"\0\5\26\7", "__MACOSX/x/y.jpg": b"\0"}
    done = run(serve(port, "photos", "folders", {"photos.tgz": (tgz(FILES_ALL), None)},
                     {"train": 6}), "photos", 0)
    assert "6 pictures to train on, 0 to validate" in done.stdout and "warning" not in done.stderr
    assert tree("photos") == ["LICENSE.txt"] + sorted(
        n.removeprefix("flower_photos/") for n in photos), tree("photos")
    assert not os.path.exists("photos.partial")
    with open("photos/daisy/1.jpg", "rb") as file:
        assert file.read() == photos["flower_photos/daisy/1.jpg"]
    looked = subprocess.run([THAW, "lint", "photos", "--json"], capture_output=True, check=False)
    assert not any(f["kind"] == "folder" for f in json.loads(looked.stdout)["findings"])

    leaves = {s: pictures_in(f"{s}/{k}/{s}_{k}.{i}.jpg" for k in ("rust", "healthy") for i in range(2))
              for s in ("train", "validation", "test")}
    files = {f"{s}.zip": (zipped(leaves[s]), s) for s in leaves}
    run(serve(port, "leaves", "folders", files), "leaves", 0, "--out=some where/l\u00e4ves")
    assert tree("some where/l\u00e4ves") == sorted(n for s in leaves.values() for n in s)

    flowers = pictures_in(f"jpg/image_{i:05d}.jpg" for i in range(1, 13))
    for compressed in (True, False):
        for kind in (numpy.uint8, numpy.uint16, numpy.int32, float):
            split = {"trnid": numpy.array([[1, 5, 9]], kind), "valid": numpy.array([[2, 12]], kind),
                     "tstid": numpy.array([[3, 4, 6, 7, 8, 10, 11]], kind), "other": "words"}
            labels = {"labels": numpy.array([[1, 1, 2, 2, 2, 77, 77, 1, 102, 2, 1, 102]], kind)}
            table = serve(port, "flowers", "flowers102", {
                "f.tgz": (tgz(flowers), None), "imagelabels.mat": (mat(labels, compressed), None),
                "setid.mat": (mat(split, compressed), None)}, {"train": 3, "validation": 2, "test": 7})
            done = run(table, "flowers", 0)
            assert "warning" not in done.stderr, done.stderr
            assert tree("flowers") == sorted(
                f"{s}/{labels['labels'][0][int(i) - 1]:03.0f}/image_{int(i):05d}.jpg"
                for s, ids in (("train", "trnid"), ("validation", "valid"), ("test", "tstid"))
                for i in split[ids][0]), tree("flowers")
            subprocess.run(["rm", "-r", "flowers"], check=True)

    names = ["Abyssinian_1", "Abyssinian_2", "great_pyrenees_10", "great_pyrenees_11"]
    images = pictures_in(f"images/{n}.jpg" for n in names) | {"images/Abyssinian_1.mat": b"x"}
    notes = {"annotations/trainval.txt": b"Abyssinian_1 1 1 1\ngreat_pyrenees_10 16 2 9\n",
             "annotations/test.txt": b"# a remark\nAbyssinian_2 1 1 1\r\ngreat_pyrenees_11 16 2 9"}
    pets = {"images.tar.gz": (tgz(images), None), "annotations.tar.gz": (tgz(notes), None)}
    done = run(serve(port, "pets", "oxford_pets", pets, {"train": 2, "test": 3}), "pets", 0)
    assert "expected 2, 0 and 3 pictures" in done.stderr
    assert tree("pets") == ["test/Abyssinian/Abyssinian_2.jpg", "test/great_pyrenees/great_pyrenees_11.jpg",
                            "train/Abyssinian/Abyssinian_1.jpg",
                            "train/great_pyrenees/great_pyrenees_10.jpg"], tree("pets")

    textures = pictures_in(f"dtd/images/{k}/{k}_{i}.jpg" for k in ("banded", "dotted") for i in range(3))
    lists = {f"dtd/labels/{s}1.txt": "".join(f"{k}/{k}_{i}.jpg\n" for k in ("banded", "dotted")).encode()
             for i, s in enumerate(("train", "val", "test"))}
    run(serve(port, "textures", "dtd", {"dtd.tar.gz": (tgz(textures | lists), None)}), "textures", 0)
    assert tree("textures") == sorted(f"{s}/{k}/{k}_{i}.jpg" for k in ("banded", "dotted") for i, s in
                                      enumerate(("train", "validation", "test"))), tree("textures")


def bad_lists(port):
    """Lists that name what is not there, or lead elsewhere, and archives that do."""
    images = pictures_in(["images/a_1.jpg"])
    for line, says in ((b"b_1 1 1 1", "which is not there"), (b"../../x_1 1 1 1", "a list names"),
                       (b"/etc/x_1", "no name of a class"), (b"a_1\na_1\n", "two pictures for")):
        notes = {"annotations/trainval.txt": line, "annotations/test.txt": b""}
        done = run(serve(port, "bad", "oxford_pets", {"i.tar.gz": (tgz(images), None),
                                                      "a.tar.gz": (tgz(notes), None)}), "bad", 1)
        assert says in done.stderr, done.stderr
        assert not os.path.exists("bad")
    done = run(serve(port, "bad", "folders", {"out.zip": (zipped({"../a/1.jpg": b"x"}), None)}), "bad", 1)
    assert "leads out of the folder" in done.stderr
    done = run(serve(port, "bad", "folders", {"two.zip": (zipped({"x/a/1.jpg": b"x", "y/a/1.jpg": b"y"}),
                                                          None)}), "bad", 1)
    assert "has two pictures for" in done.stderr
    done = run(serve(port, "bad", "folders", {"none.zip": (zipped({"a.txt": b"x"}), None)}), "bad", 1)
    assert "has no picture in a folder of a class" in done.stderr
    subprocess.run(["rm", "-r", "bad.partial"], check=True)


def one_set(port, size=200_000):
    """A set of one file, which does not shrink."""
    rng = numpy.random.default_rng(size)
    entries = {f"s/{k}/{i}.jpg": rng.bytes(size // 4) for k in ("a", "b") for i in range(2)}
    return serve(port, "one", "folders", {"one.zip": (zipped(entries), None)})


def starts():
    """Where each request for one.zip began."""
    return [int((asked or "bytes=0-").removeprefix("bytes=").rstrip("-")) for _, asked in ASKED]


def clear():
    subprocess.run("rm -rf one one.partial", shell=True, check=True)
    MANNERS.clear()


def manners(port):
    """What a server and a connection may do."""
    table = one_set(port)
    whole = len(FILES["one.zip"])
    run(table, "one", 0)
    assert starts() == [0]
    done = run(table, "one", 2)
    assert "is there already" in done.stderr and not ASKED
    clear()

    MANNERS["one.zip"] = ["cut", "cut", ""]  # Goes on in one run.
    run(table, "one", 0)
    assert starts() == [0, whole // 3, whole // 3 + (whole - whole // 3) // 3], starts()
    clear()

    MANNERS["one.zip"] = ["norange cut", "norange", "norange"]  # Begins anew, since it has to.
    done = run(table, "one", 0)
    assert "it begins anew" in done.stderr and starts() == [0, whole // 3, 0], starts()
    clear()

    MANNERS["one.zip"] = ["redirect", ""]
    run(table, "one", 0)
    clear()

    MANNERS["one.zip"] = ["503", "503", ""]
    run(table, "one", 0)
    assert len(ASKED) == 3
    clear()

    MANNERS["one.zip"] = ["404", ""]
    done = run(table, "one", 1)
    assert "answers 404" in done.stderr and "not there any more" in done.stderr and len(ASKED) == 1
    clear()

    right, part = FILES["one.zip"], "one.partial/files/one.zip.part"
    wrong = "one.partial/files/one.zip.wrong"
    for bad, says in ((right[:-1] + bytes([right[-1] ^ 1]), "has another SHA-256"),
                      (right[:-7], f"has {whole - 7} bytes, expected {whole}"),
                      (right + b"more", f"has more than {whole} bytes")):
        FILES["one.zip"] = bad
        done = run(table, "one", 1)
        assert says in done.stderr and "kept as 'one.partial/files/one.zip.wrong'" in done.stderr, done.stderr
        assert os.path.exists(wrong) and not os.path.exists(part) and not os.path.exists("one")
        FILES["one.zip"] = right
        run(table, "one", 0)  # The wrong one is in nobody's way.
        assert starts() == [0]
        clear()

    MANNERS["one.zip"] = ["cut"] + ["404", ""]  # What is there serves the next run.
    run(table, "one", 1)
    assert os.path.getsize(part) == whole // 3
    run(table, "one", 0)
    assert starts() == [whole // 3]
    clear()

    os.makedirs("one.partial/files")  # A part that is longer than the file, and one that is all of it.
    for have in (right + b"more", right):
        os.makedirs("one.partial/files", exist_ok=True)
        with open(part, "wb") as file:
            file.write(have)
        run(table, "one", 0)
        assert starts() == ([0] if len(have) > whole else []), starts()
        clear()

    os.makedirs("one.partial/files")  # A part of another file: found out by the checksum.
    with open(part, "wb") as file:
        file.write(b"x" * 1000)
    done = run(table, "one", 1)
    assert "has another SHA-256" in done.stderr and starts() == [1000]
    clear()

    limit = 100_000
    done = run(table, "one", 1,
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert "cannot write" in done.stderr and os.path.getsize(part) <= limit
    run(table, "one", 0)
    assert starts()[0] > 0
    clear()


def stopping(port):
    """A signal in the middle: what came stays, and the same command goes on."""
    table = one_set(port, 400_000)
    with open("table.json", "w", encoding="utf-8") as file:
        json.dump(table, file)
    MANNERS["one.zip"] = ["slow", ""]
    part = "one.partial/files/one.zip.part"
    program = subprocess.Popen([THAW, "data", "fetch", "one", "--table=table.json"],
                               stderr=subprocess.PIPE, text=True)
    while not os.path.exists(part) or os.path.getsize(part) == 0:
        time.sleep(0.01)
    other = run(table, "one", 1)
    assert "another program is fetching" in other.stderr
    program.send_signal(signal.SIGTERM)
    says = program.communicate(timeout=60)[1]
    assert program.returncode == 1 and "stopped by a signal" in says, says
    have = os.path.getsize(part)
    assert 0 < have < len(FILES["one.zip"])
    MANNERS.clear()
    run(table, "one", 0)
    assert starts() == [have]
    clear()


def secrecy():
    """A server that nobody vouches for is not believed."""
    if not shutil.which("openssl"):
        print("SKIPPED: https, without the openssl program")
        return
    subprocess.run("openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 2 -subj /CN=127.0.0.1 "
                   "-addext subjectAltName=IP:127.0.0.1", shell=True, check=True, capture_output=True)
    server = Quiet(("127.0.0.1", 0), Server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("cert", "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    table = one_set(server.server_address[1])
    table[0]["files"][0]["url"] = table[0]["files"][0]["url"].replace("http:", "https:")
    done = run(table, "one", 1)
    assert "certificate" in done.stderr and not ASKED, done.stderr
    clear()


def tables(port):
    """Tables that are none."""
    good = one_set(port)
    for change, says in (({"layout": "heap"}, "expected folders, flowers102"), ({"name": "a/b"}, '"name"'),
                         ({"licence": ""}, '"licence"'), ({"files": []}, "a list of one to 16 files")):
        done = run([good[0] | change], "one", 1)
        assert says in done.stderr, done.stderr
    for change, says in (({"sha256": "ab"}, "64 digits"), ({"sha256": "X" * 64}, "64 digits"),
                         ({"url": "file:///etc/passwd"}, "begins with https://"),
                         ({"url": "http://x/.."}, "the name of a file"), ({"bytes": 0}, "the size"),
                         ({"split": "half"}, "train, validation or test")):
        done = run([good[0] | {"files": [good[0]["files"][0] | change]}], "one", 1)
        assert says in done.stderr, done.stderr
    assert "expected a list" in run({}, "one", 1).stderr
    huge = [good[0] | {"files": [good[0]["files"][0] | {"bytes": 1 << 50}]}]
    assert "free some space" in run(huge, "one", 1).stderr
    shown = subprocess.run([THAW, "data", "ls"], capture_output=True, text=True, check=True).stdout
    assert "flowers102  344.9 MB" in shown and shown.count("licence: ") == 5


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["OMP_WAIT_POLICY"] = "passive"
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
            os.environ.pop(name, None)
        server = Quiet(("127.0.0.1", 0), Server)
        port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = subprocess.run([THAW, "data", "fetch", "beans", "--out=x"], capture_output=True, text=True,
                              env=os.environ | {"https_proxy": "http://127.0.0.1:1"}, check=False)
        if "this build of Thaw cannot fetch" in done.stderr:
            print("SKIPPED: this build cannot fetch: libcurl4-gnutls-dev was not installed")
            os.chdir("/")
            return 77
        for test in (layouts, bad_lists, manners, stopping, tables):
            test(port)
            print(f"{test.__name__}: ok")
        secrecy()
        os.chdir("/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
