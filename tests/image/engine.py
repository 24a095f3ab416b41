"""What `docker build` and `docker run` do, as far as our Dockerfile needs it, without Docker.

An image is a stack of folders that overlayfs lays over one another, with what ENV, WORKDIR, LABEL
and ENTRYPOINT say. A stage adds one folder. Instructions and forms that are not known are errors: the
file must not mean one thing here and another to Docker. Needs root, and a mount namespace of its own
(enter_namespace), so that nothing stays mounted. What apt and pip need to reach the network from
this machine is a layer of its own, which a stage sees while it is built and the image does not get.
"""
import ctypes
import dataclasses
import fcntl
import filecmp
import glob
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BARE_ROOT = os.path.join(os.path.dirname(HERE), "bare_root.sh")
RELEASES = {"debian:12-slim": "bookworm", "debian:13-slim": "trixie"}
# What Docker gives a container whose image says nothing else.
DEFAULT_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def refuse(where, why):
    sys.exit(f"{where}: {why}")


def command(*words, **options):
    return subprocess.run(words, check=True, **options)


def mount(*words):
    command("mount", *words)


def leave(flag):
    """Leaves a namespace that is shared with the rest of the machine."""
    if ctypes.CDLL(None, use_errno=True).unshare(flag) != 0:
        raise OSError(ctypes.get_errno(), "unshare: is this root?")


def enter_namespace():
    leave(CLONE_NEWNS)
    mount("--make-rprivate", "/")


def enter_lonely_network():
    """A network that holds the loopback device alone: what runs there reaches nothing outside, as
    with EnableNetworkIsolation, and port 8080 is free."""
    leave(CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        fcntl.ioctl(device, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


# ---------------------------------------------------------------------------------------------
# The Dockerfile


@dataclasses.dataclass
class Instruction:
    where: str  # FILE:LINE
    word: str
    text: str


@dataclasses.dataclass
class Stage:
    name: str
    base: str
    instructions: list


def instructions(path):
    """Comments go, lines that end with a backslash are joined to the next."""
    text, first = "", 0
    with open(path) as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if line.lstrip().startswith("#"):
                if re.match(r"#\s*(syntax|escape|check)\s*=", line):
                    refuse(f"{path}:{number}", "parser directives are not known")
                continue
            if not text:
                first = number
            text += line.strip() if not text else " " + line.strip()
            if text.endswith("\\"):
                text = text[:-1].rstrip()
            elif text:
                word, _, rest = text.partition(" ")
                yield Instruction(f"{path}:{first}", word, rest.strip())
                text = ""
    if text:
        refuse(f"{path}:{first}", "the file ends in the middle of an instruction")


def parse(path):
    """The stages by name, in the file's order."""
    stages = {}
    current = None
    for each in instructions(path):
        if each.word == "FROM":
            words = each.text.split()
            if len(words) != 3 or words[1] != "AS" or "$" in each.text:
                refuse(each.where, "FROM is known as FROM IMAGE AS NAME")
            current = Stage(words[2], words[0], [])
            stages[current.name] = current
        elif each.word not in STEPS:
            refuse(each.where, f"{each.word} is not known")
        elif current is None:
            refuse(each.where, f"{each.word} before the first FROM is not known")
        else:
            current.instructions.append(each)
    return stages


# ---------------------------------------------------------------------------------------------
# Images


@dataclasses.dataclass
class Image:
    layers: list = dataclasses.field(default_factory=list)  # Folders, the topmost first.
    env: dict = dataclasses.field(default_factory=dict)
    labels: dict = dataclasses.field(default_factory=dict)
    entrypoint: list = dataclasses.field(default_factory=list)
    workdir: str = "/"

    def over(self):
        """The same image, for another to grow on."""
        return Image(list(self.layers), dict(self.env), dict(self.labels), list(self.entrypoint),
                     self.workdir)


def mount_layers(target, lower, upper=None):
    """Lays folders over one another, upper on top to take what is written; without it the result is
    for reading only."""
    os.makedirs(target, exist_ok=True)
    if upper is None and len(lower) == 1:
        mount("--bind", lower[0], target)
        mount("-o", "remount,bind,ro", target)
        return
    options = "lowerdir=" + ":".join(lower)
    if upper is not None:
        os.makedirs(upper, exist_ok=True)
        os.makedirs(upper + ".work", exist_ok=True)
        options += f",upperdir={upper},workdir={upper}.work"
    mount("-t", "overlay", "overlay", "-o", options, target)


class Builder:
    """Carries out the stages that a target needs, each once."""

    def __init__(self, dockerfile, context, folder, arguments, contexts):
        """context: what COPY takes from; arguments: of --build-arg; contexts: of --build-context,
        folders that stand in for stages; folder: made anew, keeps the layers."""
        self.stages, self.context, self.folder = parse(dockerfile), context, folder
        self.arguments, self.contexts = arguments, contexts
        self.built = {}
        shutil.rmtree(folder, ignore_errors=True)
        self.network = os.path.join(folder, "network")
        command(BARE_ROOT, "network", self.network)
        lines = command(BARE_ROOT, "environment", capture_output=True, text=True).stdout
        self.settings = dict(line.split("=", 1) for line in lines.splitlines())
        declared = [each.text.partition("=")[0] for stage in self.stages.values()
                    for each in stage.instructions if each.word == "ARG"]
        for name in arguments.keys() - declared:
            refuse("--build-arg", f"no stage has ARG {name}")
        for name in contexts.keys() - self.stages.keys():
            refuse("--build-context", f"no stage is called {name}")

    def image(self, name):
        """The image of a stage, of a folder that stands in for one, or of a bare Debian."""
        if name not in self.built:
            if name in self.contexts:
                self.built[name] = Image([os.path.abspath(self.contexts[name])])
            elif name in self.stages:
                self.built[name] = self.build(self.stages[name])
            elif name in RELEASES:
                root = os.path.join(self.folder, RELEASES[name])
                command(BARE_ROOT, "unpack", RELEASES[name], root)
                self.built[name] = Image([root])
            else:
                refuse("FROM", f"{name} is no stage and not one of {', '.join(RELEASES)}")
        return self.built[name]

    def view(self, name):
        """A stage's root, to copy from; a folder that stands in for one is taken as it is."""
        if name in self.contexts:
            return self.contexts[name]
        target = os.path.join(self.folder, name + ".view")
        if not os.path.ismount(target):
            mount_layers(target, self.image(name).layers)
        return target

    def build(self, stage):
        image = self.image(stage.base).over()
        upper = os.path.join(self.folder, stage.name)
        root = upper + ".root"
        mount_layers(root, [self.network] + image.layers, upper)
        arguments = {}
        for each in stage.instructions:
            print(f"-- {stage.name}: {each.word} {each.text}", flush=True)
            STEPS[each.word](self, image, arguments, root, each)
        command("umount", root)
        image.layers.insert(0, upper)
        return image


VARIABLE = r"\$(\w+)|\$\{(\w+)\}"


def expand(each, text, values):
    """$NAME and ${NAME}; what is not set is nothing, as with Docker."""
    if re.search(r"[$\\]", re.sub(VARIABLE, "", text)):
        refuse(each.where, f"only $NAME and ${{NAME}} are known, in {text}")
    return re.sub(VARIABLE, lambda m: values.get(m[1] or m[2], ""), text)


def pairs(each, values):
    if "'" in each.text or "\\" in each.text:
        refuse(each.where, f"{each.word} is known with double quotes alone")
    for word in shlex.split(each.text):
        name, equals, value = word.partition("=")
        if not equals:
            refuse(each.where, f"{each.word} is known as {each.word} NAME=VALUE...")
        yield name, expand(each, value, values)


def step_arg(builder, image, arguments, root, each):
    name, equals, default = each.text.partition("=")
    if not equals or not re.fullmatch(r"\w+", name) or re.search(r"[\s\"]", default):
        refuse(each.where, "ARG is known as ARG NAME=DEFAULT, the default without quotes")
    arguments[name] = builder.arguments.get(name, expand(each, default, arguments | image.env))


def step_env(builder, image, arguments, root, each):
    image.env.update(list(pairs(each, arguments | image.env)))


def step_label(builder, image, arguments, root, each):
    image.labels.update(list(pairs(each, arguments | image.env)))


def step_workdir(builder, image, arguments, root, each):
    image.workdir = os.path.join(image.workdir, expand(each, each.text, arguments | image.env))
    os.makedirs(root + image.workdir, exist_ok=True)


def words_of(each):
    """The exec form: a JSON list of words."""
    match = re.fullmatch(r'\[("[^"\\]*"(?:, ?"[^"\\]*")*)\]', each.text)
    if not match:
        refuse(each.where, f'{each.word} is known as {each.word} ["PROGRAM", "ARGUMENT", ...]')
    return re.findall(r'"([^"]*)"', match[1])


def step_entrypoint(builder, image, arguments, root, each):
    image.entrypoint = words_of(each)


def step_run(builder, image, arguments, root, each):
    if each.text.startswith("--") or "<<" in each.text:
        refuse(each.where, "RUN is known without options and without a here-document")
    words = words_of(each) if each.text.startswith("[") else ["/bin/sh", "-c", each.text]
    for folder in ("proc", "dev"):
        mount("--rbind", "/" + folder, os.path.join(root, folder))
    env = DEFAULT_ENV | builder.settings | arguments | image.env
    try:
        status = subprocess.run(["/usr/sbin/chroot", root, "/usr/bin/env", "-C", image.workdir, *words],
                                env=env, stdin=subprocess.DEVNULL).returncode
    finally:
        for folder in ("dev", "proc"):
            command("umount", "--recursive", "--lazy", os.path.join(root, folder))
    if status != 0:
        refuse(each.where, f"exit code {status}")


def copy(source, target):
    """A folder's content, or a file. What is there with the same content stays, time and all, so
    that make sees what has changed in a folder that stands in for a stage."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
        for entry in os.scandir(source):
            to = os.path.join(target, entry.name)
            if not entry.is_symlink():
                copy(entry.path, to)
            elif not os.path.lexists(to) or os.readlink(to) != os.readlink(entry.path):
                os.symlink(os.readlink(entry.path), to)
        return
    if os.path.isfile(target) and filecmp.cmp(source, target, shallow=False):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy2(source, target)


def step_copy(builder, image, arguments, root, each):
    words = expand(each, each.text, arguments | image.env).split()
    top = builder.context
    if words[0].startswith("--from="):
        top = builder.view(words.pop(0).removeprefix("--from="))
    if len(words) < 2 or words[0].startswith(("--", "[")):
        refuse(each.where, "COPY is known as COPY [--from=STAGE] SOURCE... TARGET")
    *patterns, target = words
    sources = [path for pattern in patterns for path in sorted(glob.glob(top + "/" + pattern))]
    if not sources:
        refuse(each.where, f"there is no {' '.join(patterns)}")
    into = target.endswith("/") or target == "."
    if len(sources) > 1 and not into:
        refuse(each.where, f"{target} must end with a slash to take several sources")
    target = os.path.normpath(root + os.path.join(image.workdir, target))
    for source in sources:
        real = os.path.realpath(source)
        if not real.startswith(os.path.realpath(top)):
            refuse(each.where, f"{source} leads out of where it is copied from")
        file_into = into and not os.path.isdir(real)
        copy(real, os.path.join(target, os.path.basename(source)) if file_into else target)


STEPS = {
    "ARG": step_arg,
    "COPY": step_copy,
    "ENTRYPOINT": step_entrypoint,
    "ENV": step_env,
    "LABEL": step_label,
    "RUN": step_run,
    "WORKDIR": step_workdir,
}


# ---------------------------------------------------------------------------------------------
# Containers


class Container:
    """A process in an image's root, process 1 of its own, with the image's environment and nothing
    of this machine's. All that it writes outside of the mounts goes to root_bytes of memory."""

    def __init__(self, image, folder, arguments, mounts, tmp="1m", env=None):
        """mounts: folders by where they appear, read only where the name ends with :ro; tmp: the
        size of /tmp; env: what `docker run -e` adds."""
        self.root = os.path.join(folder, "root")
        writable = os.path.join(folder, "writable")
        for path in (self.root, writable):
            shutil.rmtree(path, ignore_errors=True)
            os.makedirs(path)
        mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", writable)
        mount_layers(self.root, image.layers, os.path.join(writable, "upper"))
        self.writable = writable
        self.make_devices()
        self.tmpfs("/tmp", tmp)
        for path, source in mounts.items():
            inside = self.root + path.removesuffix(":ro")
            os.makedirs(inside, exist_ok=True)
            mount("--bind", source, inside)
            if path.endswith(":ro"):
                mount("-o", "remount,bind,ro", inside)
        self.log = os.path.join(folder, "log")
        words = ["/usr/bin/unshare", "--pid", "--fork", "--kill-child", "--mount",
                 f"--root={self.root}", f"--wd={image.workdir}", "--mount-proc",
                 *image.entrypoint, *arguments]
        self.process = subprocess.Popen(words, env=DEFAULT_ENV | image.env | (env or {}),
                                        stdin=subprocess.DEVNULL, stdout=open(self.log, "wb"),
                                        stderr=subprocess.STDOUT)

    def tmpfs(self, path, size):
        os.makedirs(self.root + path, exist_ok=True)
        mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.root + path)

    def make_devices(self):
        """Docker's /dev, with shared memory of nothing to speak of."""
        self.tmpfs("/dev", "64k")
        for name in ("null", "zero", "full", "random", "urandom"):
            path = f"{self.root}/dev/{name}"
            open(path, "w").close()
            mount("--bind", "/dev/" + name, path)
        self.tmpfs("/dev/shm", "64k")
        mount("--rbind", "/sys", self.root + "/sys")

    def terminate(self):
        """SIGTERM to process 1. unshare, which stands outside, keeps it to itself."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            os.kill(int(file.read().split()[0]), signal.SIGTERM)

    def wait(self, seconds):
        """The exit code; None when it had to be killed."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.remove()

    def remove(self):
        self.process.kill()
        self.process.wait()
        command("umount", "--recursive", "--lazy", self.root)
        command("umount", "--lazy", self.writable)

    def output(self):
        with open(self.log, errors="replace") as file:
            return file.read()
