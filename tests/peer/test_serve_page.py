"""The server's page in headless Chromium, as a person uses it: pictures are put into its input, by name, and
answers come back. Looks at both widths, in light and dark, at what a hostile class name becomes, at what the
keyboard reaches, and at the table that is offered.

    test_serve_page.py THAW THAW_DRAW SOURCE FOLDER    FOLDER gets screenshots

Speaks to Chromium through a pipe (--remote-debugging-pipe: JSON messages that end with a zero byte). Exit
code 77, skipped, where there is no Chromium. Needs Python's standard library alone.
"""
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HOSTILE = "<img src=x onerror=document.title='owned'><b>rose"


def find_chromium():
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


class Browser:
    """A page in Chromium."""

    def __init__(self, chromium, profile):
        from_us, to_browser = os.pipe()
        from_browser, to_us = os.pipe()
        wrapper = ["sh", "-c", f'exec "$@" 3<&{from_us} 4>&{to_us}', "sh", chromium]
        self.process = subprocess.Popen(
            wrapper + ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                       "--hide-scrollbars", "--no-first-run", f"--user-data-dir={profile}",
                       "--remote-debugging-pipe"],
            pass_fds=(from_us, to_us), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(from_us)
        os.close(to_us)
        self.out, self.into = open(to_browser, "wb", buffering=0), open(from_browser, "rb")
        self.number, self.session, self.events = 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(domain + ".enable")

    def read(self):
        message = b""
        while not message.endswith(b"\0"):
            byte = self.into.read(1)
            assert byte, "Chromium has ended"
            message += byte
        return json.loads(message[:-1])

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def ask(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def await_true(self, expression, seconds=60):
        end = time.monotonic() + seconds
        while not self.ask(expression):
            assert time.monotonic() < end, f"never so: {expression}: {self.ask('document.body.innerText')}"
            time.sleep(0.05)

    def put_files(self, selector, paths):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=paths, nodeId=node)

    def press(self, key):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode={"Tab": 9, "Enter": 13}[key])

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def problems(self):
        """Errors of scripts and of the policy, and whatever else the page was told."""
        said = []
        for event in self.events:
            if event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                said.append(event["params"]["entry"]["text"])
            if event.get("method") == "Runtime.exceptionThrown":
                said.append(json.dumps(event["params"]["exceptionDetails"]))
        return said

    def close(self):
        self.call("Browser.close")
        self.process.wait(30)


def look(browser, folder):
    """What must hold at each width, in light and in dark."""
    for width, scheme in ((400, "light"), (400, "dark"), (1400, "light"), (1400, "dark")):
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1,
                     mobile=width < 500)
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        facts = browser.ask("""(() => {
            const small = [...document.querySelectorAll("body *")].filter(e => e.innerText && !e.closest("select")
                && parseFloat(getComputedStyle(e).fontSize) < 12);
            const ground = getComputedStyle(document.body).backgroundColor;
            return {inside: document.documentElement.scrollWidth, width: innerWidth, small: small.length,
                    dark: ground.match(/\\d+/g).every(x => x < 60)};
        })()""")
        assert facts["width"] == width and facts["inside"] <= width, facts
        assert facts["small"] == 0 and facts["dark"] == (scheme == "dark"), facts
        browser.screenshot(os.path.join(folder, f"serve-{width}-{scheme}.png"))


def use(browser, url, pictures, words, folder):
    browser.call("Page.navigate", url=url)
    browser.await_true("document.readyState === 'complete'")
    order = []
    for _ in range(2):
        browser.press("Tab")
        order.append(browser.ask("document.activeElement.id"))
    assert order == ["files", "folder"], order

    browser.put_files("#file-input", pictures + [words])
    browser.await_true(f"/^{len(pictures) + 1} pictures in/.test(document.getElementById('said').textContent)")
    cards = browser.ask("""[...document.querySelectorAll("#cards li")].map(c => ({
        name: c.querySelector("h2").textContent, old: (c.querySelector(".old") || {}).textContent,
        bars: c.querySelectorAll(".track i").length, file: c.querySelector(".file").textContent,
        why: (c.querySelector(".more") || {}).textContent, drawn: c.querySelector("img").naturalWidth > 0}))""")
    assert len(cards) == len(pictures) + 1, cards
    good = [c for c in cards if c["name"] != "No answer"]
    bad = [c for c in cards if c["name"] == "No answer"]
    assert len(bad) == 1 and "this is not a JPEG" in bad[0]["why"], bad
    assert all(c["bars"] == 3 and c["drawn"] and re.search(r", \d+ ms$", c["file"]) for c in good), good
    assert all(re.fullmatch(r".+: [01]\.\d\d", c["old"]) for c in good), good
    # A class may have any name: it is shown as it is, and does nothing.
    assert any(c["name"] == HOSTILE for c in good), [c["name"] for c in good]
    assert browser.ask("document.title") == "Thaw"
    assert browser.ask("document.querySelectorAll('#cards b, #cards img[src=\"x\"]').length") == 0
    # And if it were markup, the policy would stop it.
    assert browser.ask(
        "new Promise(done => { addEventListener('securitypolicyviolation', e => done(e.violatedDirective));"
        "setTimeout(done, 5000); document.body.insertAdjacentHTML('beforeend', '<img id=evil src=data:, "
        "onerror=\"document.title=1\">'); })") == "script-src-attr"
    assert browser.ask("document.title") == "Thaw"
    browser.ask("document.getElementById('evil').remove()")
    browser.events = [e for e in browser.events if "inline event handler" not in json.dumps(e)]
    look(browser, folder)

    table = browser.ask("table()")
    lines = table.split("\r\n")
    assert lines[0] == "file,answer,score,old_answer,old_score,problem" and len(lines) == len(cards) + 2, table
    assert all(any(line.startswith(os.path.basename(p) + ",") for line in lines) for p in pictures), table
    assert browser.ask("cell('=1+1')") == "'=1+1" and browser.ask("cell('a\"b')") == '"a""b"'
    browser.ask("document.getElementById('clear').click()")
    assert browser.ask("document.querySelectorAll('#cards li').length") == 0
    assert browser.ask("document.activeElement.id") == "files"


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    chromium = find_chromium()
    if not chromium:
        print("SKIPPED: there is no Chromium: apt-get install chromium")
        return 77
    thaw, draw, source, folder = sys.argv[1:5]
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        pictures = os.path.join(place, "pictures")
        run(draw, "demo8", pictures, "6", "2", "64", "7")
        classes = sorted(os.listdir(os.path.join(pictures, "train")))
        for split in ("train", "test"):
            for name in classes[3:]:
                shutil.rmtree(os.path.join(pictures, split, name))
            os.rename(os.path.join(pictures, split, classes[0]), os.path.join(pictures, split, HOSTILE))
        run(thaw, "train", "--model=" + os.path.join(source, "datasets/flower_or_not.onnx"), "--cache.dir=none",
            "--data.train=" + pictures, "--out=" + os.path.join(place, "run"), "--head.solver=lbfgs",
            "--head.weight_decay=0.01", "--head.keep_old")
        shown = sorted(os.path.join(root, name) for root, _, names in os.walk(os.path.join(pictures, "test"))
                       for name in names)
        words = os.path.join(place, "words.jpg")
        with open(words, "w", encoding="ascii") as file:
            file.write("no picture\n")
        server = subprocess.Popen([thaw, "serve", os.path.join(place, "run"), "--serve.port=0", "--log=warn"],
                                  stdout=subprocess.PIPE, text=True)
        url = server.stdout.readline().strip()
        browser = Browser(chromium, os.path.join(place, "profile"))
        try:
            use(browser, url, shown, words, folder)
            assert not [p for p in browser.problems() if "400" not in p], browser.problems()
        finally:
            browser.close()
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
    print(f"{len(shown)} pictures by the page at 2 widths, light and dark; screenshots are in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
