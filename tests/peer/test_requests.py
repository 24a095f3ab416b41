"""What thaw sagemaker prints is held against the model of SageMaker's API that botocore has: every field,
type, limit, pattern and choice; then the aws program sends one of each kind to moto's server, which must
know it afterwards as it was. Machines must be ones that the API lets do what the table says.

usage: test_requests.py THAW
"""
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile

BIN = os.path.dirname(sys.executable)
AWS = shutil.which("aws", path=BIN + os.pathsep + os.environ["PATH"])
try:
    import botocore.session
    import botocore.validate
    from moto.server import ThreadedMotoServer
    if not AWS:
        raise ImportError("there is no program aws")
except ImportError as missing:
    print(f"SKIPPED: {missing}; without build/peer, ./thaw test makes one with botocore, moto and the AWS CLI")
    sys.exit(77)

THAW = sys.argv[1]
API = botocore.session.get_session().get_service_model("sagemaker")
KINDS = {
    "job": "CreateTrainingJob",
    "tuning-job": "CreateHyperParameterTuningJob",
    "algorithm": "CreateAlgorithm",
    "model": "CreateModel",
    "endpoint-config": "CreateEndpointConfig",
    "endpoint": "CreateEndpoint",
    "transform-job": "CreateTransformJob",
}
ROLE = "--role=arn:aws:iam::111122223333:role/service-role/thaw"
IMAGE = "--image=111122223333.dkr.ecr.us-east-1.amazonaws.com/thaw:cuda"
MADE = [ROLE, IMAGE]
PICTURES = ["--train=s3://pictures/train/", "--model=s3://pictures/mobilenet_v2.onnx"]
JOB = ["job", *MADE, *PICTURES, "--instance=ml.g5.xlarge"]
TUNING = ["tuning-job", *MADE, *PICTURES, "--instance=ml.g5.xlarge"]
VPC = ["--subnets=subnet-0a1b,subnet-2c3d", "--security-groups=sg-0a1b"]
TAGS = ["--tags=project=flowers,owner=botany"]
MODEL = ["model", *MADE, "--model-data=s3://pictures/run1/model.tar.gz"]
VARIANT = ["endpoint-config", "--model-name=flowers", "--instance=ml.g5.xlarge"]
ENDPOINT = ["endpoint", "--endpoint-config=flowers"]
TRANSFORM = ["transform-job", "--model-name=flowers", "--input=s3://pictures/new/"]
SPOT_JOB = [*JOB, "--spot", "--checkpoints=s3://pictures/checkpoints/", "--max-runtime=3600", "--retries=3",
            "--freeze=stage4", "--top.lr=0.01", "--epochs=20", "--validation=s3://pictures/validation/",
            "--test=s3://pictures/test/", "--input-mode=FastFile", *TAGS, *VPC, "--isolation",
            "--env=A=1,B=two", "--output-key=alias/mine", "--encrypt-traffic"]
BROAD_TUNING = [*TUNING, "--head.lr=1e-4..1e-1", "--head.batch=16,32,64", "--freeze=last,stage4,stage3",
                "--top.epochs=5..20", "--seed=3", "--strategy=Random", "--max-jobs=10", "--parallel-jobs=5"]
REQUESTS = [
    JOB,
    SPOT_JOB,
    [*JOB, "--instance=ml.c6i.4xlarge", "--volume=100", "--volume-key=k", "--keep-alive=600", "--count=2",
     "--distribution=ShardedByS3Key", "--train-lst=s3://pictures/train.lst",
     "--validation-lst=s3://pictures/validation.lst"],
    [*JOB, "--data-type=ManifestFile", "--train=s3://pictures/train.manifest"],
    [*JOB, "--data-type=AugmentedManifestFile", "--train=s3://pictures/train.json", "--input-mode=Pipe"],
    [*JOB, "--train=s3://pictures/train.rec", "--input-mode=Pipe", "--model=s3://pictures/run1/model.tar.gz"],
    [*JOB, "--model=/opt/thaw/models/flower_or_not.onnx"],
    [*TUNING, "--head.lr=1e-4..1e-1"],
    [*BROAD_TUNING, *TAGS],
    [*TUNING, "--head.lr=1e-4..1e-1", "--strategy=Hyperband", "--epochs=30", "--objective=validation:loss"],
    [*TUNING, "--head.lr=0.01,0.1", "--strategy=Grid", "--spot", "--checkpoints=s3://pictures/c/"],
    ["algorithm", IMAGE, *TAGS],
    [*MODEL, *TAGS, *VPC, "--isolation", "--env=A=1"],
    [*MODEL, "--model-data=s3://pictures/run1/"],
    [*MODEL, "--model-data=s3://pictures/runs/", "--multi-model"],
    *([*VARIANT, f"--cuda={cuda}", *TAGS] for cuda in ["none", "11", "12", "13"]),
    [*VARIANT, "--instance=ml.m5.large", "--volume=20", "--volume-key=k", "--count=2"],
    [*ENDPOINT, *TAGS],
    [*TRANSFORM, "--instance=ml.g5.xlarge", "--max-payload=10", "--concurrency=8", "--env=A=1", *TAGS],
    [*TRANSFORM, "--instance=ml.c5.xlarge", "--accept=application/json", "--output-key=k", "--volume-key=k"],
]
# The parts of requests, each with the field of the API that it becomes.
PARTS = {
    "metrics": ("CreateTrainingJob", "AlgorithmSpecification"),
    "tuning": ("CreateHyperParameterTuningJob", "HyperParameterTuningJobConfig"),
}


def thaw(words, env=None):
    done = subprocess.run([THAW, "sagemaker", *words], capture_output=True, text=True, env=env)
    if done.returncode != 0:
        sys.exit(f"thaw sagemaker {' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def complaints(shape, value, path):
    """What botocore's own validator does not look at: the ends of ranges, patterns and choices."""
    limits = shape.metadata
    size = value if shape.type_name in ("integer", "long", "float") else len(value) if not isinstance(
        value, bool) else None
    if size is not None and not limits.get("min", size) <= size <= limits.get("max", size):
        yield f"{path}: {value!r} is not within {limits}"
    # Classes of Unicode are not for Python's expressions; there are few, of free text.
    pattern = limits.get("pattern", "")
    if isinstance(value, str) and pattern and "\\p" not in pattern and not re.fullmatch(pattern, value):
        yield f"{path}: {value!r} is not {pattern}"
    if isinstance(value, str) and getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{path}: {value!r} is none of {shape.enum}"
    if shape.type_name == "structure":
        for key, one in value.items():
            yield from complaints(shape.members[key], one, f"{path}.{key}")
    elif shape.type_name == "list":
        for i, one in enumerate(value):
            yield from complaints(shape.member, one, f"{path}[{i}]")
    elif shape.type_name == "map":
        for key, one in value.items():
            yield from complaints(shape.key, key, f"{path}.{key}")
            yield from complaints(shape.value, one, f"{path}.{key}")


def validate(shape, value, required=True):
    report = botocore.validate.ParamValidator().validate(value, shape)
    errors = [line for line in report.generate_report().split("\n") if line]
    if not required:
        errors = [line for line in errors if not line.startswith("Missing required parameter in input: ")]
    return errors + ([] if errors else list(complaints(shape, value, "input")))


def check_requests():
    good = True
    for words in REQUESTS:
        errors = validate(API.operation_model(KINDS[words[0]]).input_shape, json.loads(thaw(words)))
        good &= not errors
        print("ok   " if not errors else "WRONG", " ".join(w for w in words if w not in MADE + PICTURES)[:90], *errors, sep="  ")
    for word, (operation, member) in PARTS.items():
        shape = API.operation_model(operation).input_shape.members[member]
        errors = validate(shape, json.loads(thaw([word])), required=False)
        good &= not errors
        print("ok   " if not errors else "WRONG", word, *errors, sep="  ")
    return good


def check_machines():
    """What the table lets a machine do the API must know; that it knows more is no mistake."""
    shapes = {
        "train": API.shape_for("TrainingInstanceType").enum,
        "serve": API.shape_for("ProductionVariantInstanceType").enum,
        "transform": API.shape_for("TransformInstanceType").enum,
    }
    good, n = True, 0
    for line in thaw(["instances"]).split("\n"):
        if not line.startswith("ml."):
            continue
        n += 1
        for use, names in shapes.items():
            says, knows = use in line.split(), line.split()[0] in names
            if says and not knows:
                print(f"WRONG  {line.split()[0]} is not one that the API lets {use}")
                good = False
            if knows and not says:
                print(f"note   {line.split()[0]}: the API now lets it {use}, too")
    print("ok   " if good else "WRONG", f"{n} machines", sep="  ")
    return good and n > 0


# What moto, as of 5.2, does not keep of a training job, or replaces.
FORGOTTEN = r"Environment |RetryStrategy |AlgorithmSpecification.MetricDefinitions "


def differences(sent, known, path=""):
    """Where what the server knows is not what was sent; it may know more."""
    if isinstance(sent, dict) and isinstance(known, dict):
        for key, value in sent.items():
            if key == "Tags":
                continue
            yield from differences(value, known.get(key), f"{path}.{key}")
    elif isinstance(sent, list) and isinstance(known, list) and len(sent) == len(known):
        for i, value in enumerate(sent):
            yield from differences(value, known[i], f"{path}[{i}]")
    elif sent != known:
        yield f"{path[1:]} was {json.dumps(sent)}, is {json.dumps(known)}"


def send_all(endpoint):
    """One of each kind, as its user sends it: with --submit, and the first as a file."""
    env = dict(os.environ, PATH=os.path.dirname(AWS) + os.pathsep + os.environ["PATH"], AWS_ENDPOINT_URL=endpoint,
               AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b", AWS_DEFAULT_REGION="us-east-1",
               AWS_CONFIG_FILE="/dev/null", AWS_EC2_METADATA_DISABLED="true")
    env.pop("AWS_PROFILE", None)
    os.environ.update({key: env[key] for key in env if key.startswith("AWS_")})
    client = botocore.session.Session().create_client("sagemaker")
    flows = [
        (SPOT_JOB, "describe_training_job", "TrainingJobName"),
        (BROAD_TUNING, "describe_hyper_parameter_tuning_job", "HyperParameterTuningJobName"),
        (MODEL, "describe_model", "ModelName"),
        # moto knows no newer machine with a GPU for endpoints.
        ([*VARIANT, "--instance=ml.g4dn.xlarge"], "describe_endpoint_config", "EndpointConfigName"),
        (ENDPOINT, "describe_endpoint", "EndpointName"),
        ([*TRANSFORM, "--instance=ml.g5.xlarge"], "describe_transform_job", "TransformJobName"),
    ]
    good = True
    for i, (words, describe, name) in enumerate(flows):
        words = [*words, "--name=flowers"]
        sent = thaw(words)
        if i == 0:
            with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                file.write(sent)
                file.flush()
                subprocess.run([AWS, "sagemaker", "create-training-job", "--cli-input-json", "file://" + file.name],
                               env=env, check=True, capture_output=True)
        else:
            answer = json.loads(thaw([*words, "--submit"], env))
            good &= any(key.endswith("Arn") for key in answer)
        known = json.loads(json.dumps(getattr(client, describe)(**{name: "flowers"}), default=str))
        errors = list(differences(json.loads(sent), known))
        errors = [e for e in errors if not re.match(FORGOTTEN, e)]
        good &= not errors
        print("ok   " if not errors else "WRONG", "sent:", words[0], *errors, sep="  ")
    refused = subprocess.run([THAW, "sagemaker", "endpoint", "--endpoint-config=none", "--name=n", "--submit"],
                             env=env, capture_output=True, text=True)
    print("ok   " if refused.returncode not in (0, 1, 2) else "WRONG", "what the server refuses has the aws program's "
          f"exit code, {refused.returncode}", sep="  ")
    return good and refused.returncode not in (0, 1, 2)


def main():
    good = check_requests() & check_machines()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        good &= send_all(f"http://{host}:{port}")
    finally:
        server.stop()
    sys.exit(not good)


if __name__ == "__main__":
    main()
