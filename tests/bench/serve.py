"""Serving, measured on this machine beside `thaw predict` on the same pictures in the same run: how soon a
server is ready, how many pictures a second 32 clients get, what they wait, what happens at twice that rate,
and whether memory grows.

    serve.py THAW RUN PICTURES [--seconds=10] [--rounds=3] [--clients=32] [--many=100000 SMALL_RUN SMALL_PICTURES]

One thread speaks for all clients, with sockets and no HTTP library: what it takes from the server's cores is
said. Needs Python's standard library alone; JSON on standard output.
"""
import atexit
import json
import os
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import time


def request(body):
    return (b"POST /invocations HTTP/1.1\r\nHost: here\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
            % len(body)) + body


def pictures_in(folder):
    paths = []
    for root, _, names in os.walk(folder):
        paths += [os.path.join(root, name) for name in names if name.lower().endswith((".jpg", ".png"))]
    return sorted(paths)


class Server:
    def __init__(self, thaw, run, *options):
        self.begin = time.monotonic()
        self.process = subprocess.Popen([thaw, "serve", run, "--serve.port=0", "--log=warn", *options],
                                        stdout=subprocess.PIPE, text=True)
        atexit.register(self.process.kill)  # Also when the measurement fails.
        self.port = int(re.search(r":(\d+)/", self.process.stdout.readline()).group(1))
        while self.get("/ping")[0] != 200:
            time.sleep(0.002)
        self.ready = time.monotonic() - self.begin

    def get(self, path):
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.sendall(b"GET %s HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n" % path.encode())
            reply = b"".join(iter(lambda: s.recv(65536), b""))
        return int(reply.split(b" ", 2)[1]), reply.split(b"\r\n\r\n", 1)[1].decode()

    def metric(self, name):
        return float(re.search("^" + re.escape(name) + r" (\S+)$", self.get("/metrics")[1], re.M).group(1))

    def memory(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        assert code == 0, f"the server ended with {code}"


class Client:
    """One connection: sends a request, waits for its reply."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.begin = None

    def send(self, data, begin):
        self.begin, self.data, self.reply = begin, memoryview(data), b""
        self.push()

    def push(self):
        while self.data:
            try:
                self.data = self.data[self.socket.send(self.data):]
            except BlockingIOError:
                return

    def pull(self):
        """The code of the reply once it is complete; otherwise None."""
        try:
            some = self.socket.recv(1 << 16)
        except BlockingIOError:
            return None
        assert some, "the server closed a connection"
        self.reply += some
        head, blank, body = self.reply.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head) if blank else None
        if not length or len(body) < int(length.group(1)):
            return None
        return int(self.reply[9:12])


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p / 100))] if values else None


def closed_loop(port, requests, clients, seconds=None, count=None):
    """Each client sends the next request when it has its answer. Returns the rate of the answers between
    the first second and the last request, latencies, and how many were no 200."""
    selector = selectors.DefaultSelector()
    idle = [Client(port) for _ in range(clients)]
    for c in idle:
        selector.register(c.socket, selectors.EVENT_READ, c)
    begin = time.monotonic()
    sent, answers, bad = 0, [], 0
    waiting = len(idle)
    for c in idle:
        c.send(requests[sent % len(requests)], time.monotonic())
        sent += 1
    while waiting:
        for key, _ in selector.select():
            c = key.data
            c.push()
            code = c.pull()
            if code is None:
                continue
            now = time.monotonic()
            answers.append((now, now - c.begin))
            bad += code != 200
            more = now - begin < seconds if seconds else sent < count
            if more:
                c.send(requests[sent % len(requests)], now)
                sent += 1
            else:
                waiting -= 1
    for c in idle:
        c.socket.close()
    first = begin + 1 if seconds else begin
    last = begin + seconds if seconds else answers[-1][0]
    steady = [at for at, _ in answers if first <= at <= last]
    return len(steady) / (last - first), [wait for _, wait in answers], bad


def open_loop(port, requests, rate, seconds):
    """Requests at a rate, whatever becomes of them. Returns codes and the latencies of the answered."""
    selector = selectors.DefaultSelector()
    begin = time.monotonic()
    sent, codes, waits, free, all_clients = 0, {}, [], [], 0
    while True:
        now = time.monotonic()
        while sent < rate * seconds and begin + sent / rate <= now:
            if free:
                c = free.pop()
            else:
                c = Client(port)
                all_clients += 1
                selector.register(c.socket, selectors.EVENT_READ, c)
            c.send(requests[sent % len(requests)], begin + sent / rate)
            sent += 1
        if sent >= rate * seconds and sum(codes.values()) == sent or now - begin > seconds + 60:
            break
        wait = max(0, begin + sent / rate - time.monotonic()) if sent < rate * seconds else 1
        for key, _ in selector.select(wait):
            c = key.data
            c.push()
            code = c.pull()
            if code is None:
                continue
            codes[code] = codes.get(code, 0) + 1
            if code == 200:
                waits.append(time.monotonic() - c.begin)
            free.append(c)
    return {"sent": sent, "codes": codes, "connections": all_clients}, waits


def predict_rate(thaw, run, paths):
    """Pictures a second of `thaw predict`, from its first answer to its last: loading does not count."""
    listed = "\n".join(paths) + "\n"
    process = subprocess.Popen([thaw, "predict", run, "--list=-", "--log=warn"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    process.stdin.write(listed.encode())
    process.stdin.close()
    n = first = 0
    for _ in process.stdout:
        n += 1
        if n == 64:  # Behind the first two batches, which were decoded while the trunk was planned.
            first = time.monotonic()
    last = time.monotonic()
    assert process.wait() == 0 and n == len(paths)
    return (n - 64) / (last - first)


def memory_growth(thaw, run, pictures, count, clients):
    server = Server(thaw, run)
    requests = [request(open(path, "rb").read()) for path in pictures_in(pictures)]
    megabytes, bad = [], 0
    for _ in range(10):
        _, _, wrong = closed_loop(server.port, requests, clients, count=count // 10)
        bad += wrong
        megabytes.append(round(server.memory(), 1))
    server.stop()
    return {"requests": count, "not_200": bad, "rss_mb_each_tenth": megabytes}


def main():
    options = dict(a[2:].split("=", 1) for a in sys.argv[1:] if a.startswith("--"))
    words = [a for a in sys.argv[1:] if not a.startswith("--")]
    thaw, run, folder = words[:3]
    seconds, rounds = float(options.get("seconds", 10)), int(options.get("rounds", 3))
    clients, count = int(options.get("clients", 32)), int(options.get("many", 0))
    os.environ["OMP_WAIT_POLICY"] = "passive"
    paths = pictures_in(folder)
    requests = [request(open(path, "rb").read()) for path in paths]
    result = {"pictures": len(paths), "clients": clients, "load_average": os.getloadavg()[0]}

    ready = []
    for _ in range(5):
        server = Server(thaw, run)
        ready.append(server.ready)
        server.stop()
    result["cold_start_s"] = {"median": statistics.median(ready), "worst": max(ready)}

    server = Server(thaw, run)
    offline, online, waits, not_200, client_cpu = [], [], [], 0, 0
    for _ in range(rounds):  # In turns: what else the machine does is in both.
        offline.append(predict_rate(thaw, run, paths))
        before = time.process_time()
        rate, some, wrong = closed_loop(server.port, requests, clients, seconds=seconds)
        client_cpu += time.process_time() - before
        online.append(rate)
        waits += some
        not_200 += wrong
    batch_s = 32 * server.metric("thaw_device_seconds_total") / server.metric("thaw_pictures_total")
    result["predict_per_s"], result["serve_per_s"] = offline, online
    result["serve_over_predict"] = statistics.median(b / a for a, b in zip(offline, online))
    result["client_cpu_share"] = client_cpu / (rounds * seconds)
    result["not_200"] = not_200
    result["latency_ms"] = {f"p{p}": 1e3 * percentile(waits, p) for p in (50, 90, 99)}
    result["full_batch_ms"] = 1e3 * batch_s
    result["p99_in_full_batches"] = percentile(waits, 99) / batch_s
    result["pictures_a_batch"] = (server.metric("thaw_batch_pictures_sum") /
                                  server.metric("thaw_batch_pictures_count"))

    rate = 2 * statistics.median(online)
    facts, waits = open_loop(server.port, requests, rate, seconds)
    facts["rate_per_s"] = rate
    facts["answered_per_s"] = facts["codes"].get(200, 0) / seconds
    facts["latency_ms"] = {f"p{p}": 1e3 * percentile(waits, p) for p in (50, 99)}
    result["overload"] = facts
    begin = time.monotonic()
    assert server.get("/ping")[0] == 200
    result["ping_ms"] = 1e3 * (time.monotonic() - begin)
    server.stop()
    if count:
        result["memory"] = memory_growth(thaw, *words[3:5], count, clients)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
