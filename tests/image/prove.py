#!/usr/bin/env python3
"""Builds the container image without Docker and uses it as SageMaker would: host/container/Dockerfile
is carried out as it stands (engine.py), then a training job and an endpoint run in what came out,
each as process 1 with an /opt/ml of its own, without a network, with a /tmp of 1 MB.

usage: prove.py [--target=cpu|cuda] [--build-arg NAME=VALUE]... [--build-context NAME=FOLDER]...
                [-- ARGUMENT...]

What is built is HEAD. A folder of --build-context stands in for a stage, as with Docker:
--build-context nvidia=/ takes /usr/local/cuda of this machine, toolkit=build-fresh/bookworm the root
in which tests/fresh_machine.sh has installed and built everything, so that nothing is compiled twice.
With arguments the image is run with these, on /opt/ml as a job would find it, in place of the proof.
Needs root, and a network for apt and pip. Everything lies in build-fresh/image/.
"""
import argparse
import http.client
import json
import os
import shutil
import sys
import time

from engine import (Builder, Container, command, enter_lonely_network, enter_namespace, mount_layers,
                    refuse)

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(SOURCE, "build-fresh", "image")
DOCKERFILE = "host/container/Dockerfile"
CLASSES, PICTURES_OF_EACH = 8, 5
PATIENCE = 120  # Seconds after which something hangs. Nothing here is slow.
GRACE = {"train": 120, "serve": 30}  # Seconds from SIGTERM to SIGKILL.


def check(right, what):
    print(("ok    " if right else "WRONG ") + what, flush=True)
    if not right:
        sys.exit(1)


def export_context(folder):
    """What `docker build .` would send from a clean clone: the list of Dockerfile.dockerignore, which
    is known as * and then the exceptions."""
    with open(os.path.join(SOURCE, DOCKERFILE + ".dockerignore")) as file:
        everything, *exceptions = file.read().split()
    if everything != "*" or not all(line.startswith("!") for line in exceptions):
        refuse(file.name, "only * is known, and then !PATH...")
    os.makedirs(folder)
    archive = command("git", "-C", SOURCE, "archive", "HEAD", *(line[1:] for line in exceptions),
                      capture_output=True).stdout
    command("tar", "-C", folder, "-x", input=archive)


def megabytes(folder):
    return int(command("du", "-sxm", folder, capture_output=True, text=True).stdout.split()[0])


def build(options):
    """The target's image, and the root of the stage that built it, which has thaw-draw."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    context = os.path.join(FOLDER, "context")
    export_context(context)
    builder = Builder(os.path.join(SOURCE, DOCKERFILE), context, os.path.join(FOLDER, "stages"),
                      dict(each.split("=", 1) for each in options.build_arg),
                      dict(each.split("=", 1) for each in options.build_context))
    start = time.monotonic()
    image = builder.image(options.target)
    print(f"built in {time.monotonic() - start:.0f} s")
    return image, builder.view("build")


def inspect(image, target):
    """What is in the image, and what must not be."""
    root = os.path.join(FOLDER, "root")
    mount_layers(root, image.layers)
    print(f"{megabytes(root)} MB, of which the bare Debian {megabytes(image.layers[-1])} MB")
    check(image.entrypoint == ["/usr/local/bin/thaw"], "the program is the entry point")
    capability = "com.amazonaws.sagemaker.capabilities."
    check(image.labels.get(capability + "accept-bind-to-port") == "true", "it takes a port")
    check((image.labels.get(capability + "multi-models") == "true") == (target == "cpu"),
          "multi-model endpoints: on the CPU alone")
    check(image.env.get("NVIDIA_VISIBLE_DEVICES", "") == ("all" if target == "cuda" else ""),
          "the host's GPUs: with CUDA alone")
    found = command("find", root, "-xdev", "(", "-name", "libcuda.so*", "-o", "-name", "cc1",
                    "-o", "-path", root + "/opt/ml", ")", capture_output=True, text=True).stdout
    check(not found, "no driver, no compiler, nothing in /opt/ml" + found.replace("\n", " "))
    check(os.path.isfile(root + "/opt/thaw/models/flower_or_not.onnx"), "a model to start from")
    command("umount", root)


def lay_out(builder_root, folder):
    """A fresh /opt/ml of a job: drawn pictures, the small base CNN in the channel `model`."""
    for path in ("input/config", "input/data/model", "model", "output"):
        os.makedirs(os.path.join(folder, path))
    pictures = os.path.join(folder, "input/data/pictures")
    os.makedirs(pictures)
    drawn = os.path.join(builder_root + ".drawn")
    mount_layers(drawn, [builder_root], os.path.join(FOLDER, "drawn"))
    command("chroot", drawn, "/root/thaw/build/thaw-draw", "demo8", "/pictures",
            str(PICTURES_OF_EACH), "2", "96", "7")
    for name, channel in (("train", "train"), ("test", "test")):
        shutil.move(f"{drawn}/pictures/{name}", f"{folder}/input/data/{channel}")
    os.rmdir(pictures)
    shutil.copy(os.path.join(SOURCE, "datasets/flower_or_not.onnx"),
                os.path.join(folder, "input/data/model"))
    command("umount", drawn)


def configure(folder, channels, **hyperparameters):
    """The platform's three files, as it writes them. Values are strings, JSON's or not."""
    channel = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated",
               "RecordWrapperType": "None"}
    files = {
        "hyperparameters": hyperparameters,
        "inputdataconfig": {name: channel for name in channels},
        "resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1"],
                           "current_instance_type": "ml.m5.xlarge",
                           "network_interface_name": "eth0"},
    }
    for name, value in files.items():
        with open(os.path.join(folder, "input/config", name + ".json"), "w") as file:
            json.dump(value, file)


def job(image, opt_ml, *arguments):
    """A container that sees the job's folders; what it gets as input is for reading only."""
    return Container(image, os.path.join(FOLDER, "container"), arguments,
                     {"/opt/ml": opt_ml, "/opt/ml/input:ro": os.path.join(opt_ml, "input")},
                     env={"TRAINING_JOB_NAME": "proof"})


def listing(folder):
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def wait_until(container, holds):
    """False: the container ended before, or hangs."""
    start = time.monotonic()
    while not holds():
        if container.process.poll() is not None or time.monotonic() - start > PATIENCE:
            return False
        time.sleep(0.02)
    return True


def give_up(container, what):
    status = container.wait(0)
    print(container.output()[-4000:])
    check(False, f"{what}: {status}")


def check_model(opt_ml):
    model = listing(opt_ml + "/model")
    check({"bundle.json", "model.onnx"} <= set(model), f"/opt/ml/model has {' '.join(model)}")


def read(path):
    if not os.path.isfile(path):
        return ""
    with open(path) as file:
        return file.read()


def prove_training(image, opt_ml):
    configure(opt_ml, ["train", "test", "model"], num_classes=str(CLASSES), learning_rate='"0.01"')
    container = job(image, opt_ml, "train")
    if not wait_until(container, lambda: container.process.poll() == 0):
        give_up(container, "train ends with 0")
    container.wait(0)
    check(not os.path.exists(opt_ml + "/output/failure"), "train ends with 0 and without a failure")
    check_model(opt_ml)


def prove_failure(image, opt_ml):
    configure(opt_ml, ["train"], epocs="30")
    container = job(image, opt_ml, "train")
    status = container.wait(PATIENCE)
    failure = read(opt_ml + "/output/failure")
    check(status not in (0, None), f"a hyperparameter that is none ends it with {status}")
    check("epocs" in failure.split("\n")[0], "output/failure: " + failure.split("\n")[0])
    os.remove(opt_ml + "/output/failure")


def prove_stop(image, opt_ml):
    """StopTrainingJob in the middle of a long training above a cut. Its model is the image's own."""
    shutil.rmtree(opt_ml + "/model")
    os.mkdir(opt_ml + "/model")
    configure(opt_ml, ["train"], epochs="100000", freeze="stage3",
              model="/opt/thaw/models/flower_or_not.onnx")
    container = job(image, opt_ml, "train")
    if not wait_until(container, lambda: "epoch=2;" in container.output()):
        give_up(container, "train comes to its second epoch")
    container.terminate()
    status = container.wait(GRACE["train"])
    check(status == 143, f"SIGTERM ends a training in its time, with 143: {status}")
    check(not os.path.exists(opt_ml + "/output/failure"), "which is no failure")
    check_model(opt_ml)


def request(method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def ping():
    try:
        return request("GET", "/ping")[0]
    except OSError:
        return None


def prove_serving(image, opt_ml):
    """/opt/ml/model cannot be written to here, as on the platform."""
    container = Container(image, os.path.join(FOLDER, "container"), ["serve"],
                          {"/opt/ml/model:ro": opt_ml + "/model"})
    start = time.monotonic()
    if not wait_until(container, lambda: ping() == 200):
        give_up(container, "serve answers /ping with 200")
    print(f"ok    serve answers /ping with 200 after {time.monotonic() - start:.2f} s")
    right = total = 0
    for name in listing(opt_ml + "/input/data/train"):
        for picture in listing(f"{opt_ml}/input/data/train/{name}"):
            with open(f"{opt_ml}/input/data/train/{name}/{picture}", "rb") as file:
                status, body = request("POST", "/invocations", file.read(),
                                       {"Content-Type": "image/jpeg",
                                        "Accept": "application/json;verbose"})
            if status != 200:
                check(False, f"/invocations: {status} {body[:200]}")
            total += 1
            right += json.loads(body)["predicted_label"] == name
    check(total == CLASSES * PICTURES_OF_EACH and right > 0.9 * total,
          f"/invocations knows {right} of the {total} pictures that it was trained with")
    status, body = request("POST", "/invocations", b"no picture", {"Content-Type": "image/jpeg"})
    check(status == 400, f"what is no picture: {status} {body[:100]}")
    container.terminate()
    status = container.wait(GRACE["serve"])
    check(status == 0, f"SIGTERM ends serving in its time, with 0: {status}")


def prove(image, opt_ml):
    prove_training(image, opt_ml)
    prove_serving(image, opt_ml)
    prove_failure(image, opt_ml)
    prove_stop(image, opt_ml)


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    parser.add_argument("--target", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--build-arg", action="append", default=[])
    parser.add_argument("--build-context", action="append", default=[])
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    enter_namespace()
    image, builder_root = build(options)
    inspect(image, options.target)
    enter_lonely_network()
    opt_ml = os.path.join(FOLDER, "opt_ml")
    lay_out(builder_root, opt_ml)
    if not options.arguments:
        prove(image, opt_ml)
        return
    configure(opt_ml, ["train", "test", "model"])
    container = job(image, opt_ml, *options.arguments)
    status = container.wait(None)
    print(container.output(), end="")
    sys.exit(status)


if __name__ == "__main__":
    main()
