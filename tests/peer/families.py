#!/usr/bin/env python3
"""Networks of many families, exported with random weights: which of them Thaw reads, freezes and trains.

usage: families.py BUILD [--models WORD,WORD] [--library torchvision|timm|hybrids|keras|all]
                   [--exports EXPORTER:OPSET,...] [--forms eval,preserve] [--bundles] [--limit SECONDS]
                   [--keep FOLDER] [--table FILE]

BUILD is a build of Thaw with its tests: graph_features and thaw are taken from there. Needs onnxruntime and, each
for its networks, torch with torchvision or timm, and keras; for the exporter `dynamo` onnxscript, too. Exporters:
torchscript (torch.onnx.export, the older one), dynamo (the newer one), keras (Model.export, on the back end
of KERAS_BACKEND) and tf2onnx (of Keras 2, with TensorFlow). The table is appended to, and what stands in it is not
done again.

Weights are random, and so are the scales of all normalisations. Running statistics are those of a few pictures, times
or plus something random: otherwise what comes out hardly depends on what goes in. A network whose features change by
more than 1e-11, a hundredth of what is allowed, when its pixels do by 1e-7 of their size in its own framework is drawn
again, within narrower bounds, then with variances 1.2 and 1.5 times as large; where that does not help, and in Keras,
running statistics are random, too.

imported  `thaw inspect` reads it
frozen    the whole network is the trunk: what it computes is ONNX Runtime's, NMSE 1e-9 or better
trained   how much can be trained: "all" from the pixels on, or the lowest cut above which it can
cuda      `thaw inspect --plan` finds a CUDA kernel for each step of what is frozen below the head, in fp16 on an
          H100 that need not be there. Nothing runs. Where BUILD has tests/simt/thaw_simt86, the program with the
          CUDA table in emulation, that plans; else its thaw, which needs the CUDA backend; without either: empty
bundle    with --bundles: a head is trained on pictures of noise, and the largest difference between `thaw predict`'s
          scores and those of the bundle's model.onnx in ONNX Runtime, as test_export.py holds it: "own" says what
          other last bits of the weights make of them in ONNX Runtime, where that explains more than 1e-4
"""
import argparse
import collections
import contextlib
import inspect
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import warnings

import numpy as np

warnings.filterwarnings("ignore")
import onnxruntime as ort  # noqa: E402
from PIL import Image  # noqa: E402

import test_export  # noqa: E402

try:
    import torch
except ImportError:  # Keras on TensorFlow does without.
    torch = None

TOLERANCE, PICTURES = 1e-9, 2

# The smallest of each family of timm's that is made of convolutions, and some of its relatives.
TIMM = """
convformer_s18 convformer_s36 convmixer_768_32 convnext_atto convnext_atto_ols
convnext_atto_rms convnext_zepto_rms convnextv2_atto cs3darknet_focus_s cs3darknet_m cs3darknet_s cs3edgenet_x
cs3sedarknet_l cspdarknet53 cspnext_tiny cspresnet50 cspresnext50 darknet17 darknet21 densenet121
densenetblur121d dla34 dla46_c dla46x_c dla60_res2net dla60_res2next dla60x_c dm_nfnet_f0 dpn48b dpn68 dpn68b
dpn92 eca_nfnet_l0 eca_resnet33ts eca_resnext26ts eca_vovnet39b ecaresnet26t ecaresnet50t ecaresnetlight
ecaresnext26t_32x4d efficientnet_b0 efficientnet_b0_g16_evos efficientnet_b0_g8_gn efficientnet_b0_gn
efficientnet_b1 efficientnet_cc_b0_4e efficientnet_em efficientnet_es efficientnet_es_pruned efficientnet_lite0
efficientnet_lite1 efficientnetv2_rw_t efficientnetv2_s ese_vovnet19b_dw ese_vovnet19b_slim ese_vovnet39b_evos
fasternet_t0 fasternet_t1 fastvit_t12 fastvit_t8 fbnetc_100 fbnetv3_b fbnetv3_d gcresnet33ts gcresnet50t
gcresnext26ts gernet_s ghostnet_050 ghostnetv2_100 ghostnetv3_050 hardcorenas_a hardcorenas_f hgnet_small
hgnet_tiny hgnetv2_b0 hgnetv2_b1 hrnet_w18_small hrnet_w18_small_v2 inception_next_atto inception_next_tiny
inception_resnet_v2 inception_v3 inception_v4 lcnet_035 lcnet_100 lcnetv2_small legacy_senet154
legacy_seresnet18 legacy_seresnext26_32x4d legacy_xception mambaout_femto mambaout_kobe mixnet_m mixnet_s
mixnet_xl mnasnet_050 mnasnet_100 mnasnet_small mobilenet_edgetpu_100 mobilenet_edgetpu_v2_xs mobilenetv1_100
mobilenetv1_100h mobilenetv1_125 mobilenetv2_035 mobilenetv2_100 mobilenetv3_large_075 mobilenetv3_large_100
mobilenetv3_rw mobilenetv3_small_050 mobilenetv4_conv_blur_medium mobilenetv4_conv_medium mobilenetv4_conv_small
mobilenetv4_conv_small_035 mobileone_s0 mobileone_s1 nasnetalarge nf_ecaresnet26 nf_regnet_b0 nf_regnet_b1
nf_resnet26 nf_seresnet26 nfnet_f0 nfnet_l0 pnasnet5large poolformer_s12 poolformer_s24 poolformerv2_s12
rdnet_tiny regnetv_040 regnetx_002 regnetx_004_tv regnety_002 regnety_008_tv regnety_064 regnetz_005 regnetz_040
regnetz_b16 regnetz_b16_evos regnetz_c16_evos regnetz_d8 repghostnet_050 repvgg_a0 repvgg_b0 repvgg_d2se
repvit_m0_9 repvit_m1_1 res2net101d res2net50_14w_8s res2net50_48w_2s res2net50d res2next50 resnest14d
resnest26d resnest50d resnest50d_1s4x24d resnet10t resnet18 resnet18d resnet26d resnet26t
resnet32ts resnet33ts resnet34 resnet50 resnet50_clip_gap resnet50_gn resnet50c resnet50s resnet51q resnet61q
resnetaa34d resnetaa50 resnetblur18 resnetrs101 resnetrs50 resnetv2_18 resnetv2_18d resnetv2_34
resnetv2_50d_evos resnetv2_50d_frn resnetv2_50d_gn resnetv2_50x1_bit resnext26ts resnext50_32x4d rexnet_100
rexnet_130 rexnetr_100 sedarknet21 selecsls42 selecsls42b selecsls60 semnasnet_050 semnasnet_075 seresnet18
seresnet33ts seresnet50 seresnetaa50d seresnext26d_32x4d seresnext26ts seresnext50_32x4d skresnet18 skresnet34
skresnext50_32x4d spnasnet_100 starnet_s050 starnet_s1 test_byobnet test_convnext test_convnext2 test_convnext3
test_efficientnet test_efficientnet_evos test_efficientnet_gn test_efficientnet_ln test_mambaout test_nfnet
test_resnet tf_efficientnet_b0 tf_efficientnet_cc_b0_4e tf_efficientnet_em tf_efficientnet_es
tf_efficientnet_lite0 tf_efficientnetv2_b0 tf_efficientnetv2_s tf_mixnet_s tf_mobilenetv3_large_075
tf_mobilenetv3_large_minimal_100 tf_mobilenetv3_small_minimal_100 tinynet_e tresnet_m tresnet_v2_l vgg11
vgg11_bn vgg13_bn vovnet39a wide_resnet50_2 xception41 xception41p xception65 xception65p
""".split()

# What mixes pixels by attention or by dense layers over patches, with convolutions or without.
HYBRIDS = """
bat_resnext26ts botnet26t_256 caformer_s18 coat_lite_tiny coatnet_nano_rw_224 convit_tiny cpubone_nano
crossvit_tiny_240 csatv2 davit_tiny eca_botnext26ts_256 eca_halonext26ts edgenext_xx_small efficientformer_l1
efficientformerv2_s0 efficientvim_m1 efficientvit_b0 efficientvit_l1 efficientvit_m0 fastvit_sa12
focalnet_tiny_srf gcvit_xxtiny gmixer_12_224 gmlp_ti16_224 halo2botnet50ts_256 halonet26t haloregnetz_b
hiera_tiny_224 iformer_t lambda_resnet26t levit_128s levit_conv_128s lowformer_b0 maxvit_pico_rw_256
maxxvit_rmlp_nano_rw_256 maxxvitv2_nano_rw_256 mixer_s32_224 mobilenetv4_hybrid_medium mobilevit_xxs
mobilevitv2_050 mvitv2_tiny nest_tiny nextvit_small pit_ti_224 pvt_v2_b0 resmlp_12_224 resnet50_clip
sebotnet33ts_256 sehalonet33ts sequencer2d_s shvit_s1 swiftformer_xs swin_tiny_patch4_window7_224
swinv2_cr_tiny_ns_224 swinv2_tiny_window8_256 tiny_vit_5m_224 tnt_s_patch16_224 twins_pcpvt_small
twins_svt_small visformer_tiny vit_tiny_patch16_224 vit_tiny_r_s16_p8_224 vitamin_small_224 volo_d1_224
xcit_nano_12_p16_224
""".split()

KERAS = """
ConvNeXtTiny DenseNet121 DenseNet169 DenseNet201 EfficientNetB0 EfficientNetB1 EfficientNetB2 EfficientNetB3
EfficientNetV2B0 EfficientNetV2B1 EfficientNetV2B2 EfficientNetV2S InceptionResNetV2 InceptionV3 MobileNet
MobileNetV2 MobileNetV3Large MobileNetV3Small NASNetMobile ResNet50 ResNet50V2 ResNet101 ResNet101V2 VGG16 VGG19
Xception
""".split()


def torchvision_models():
    import torchvision.models as m

    names = [n for n, f in vars(m).items() if inspect.isfunction(f) and n.islower() and not n.startswith("get_")]
    names = [n for n in names if n not in ("list_models", "register_model", "get_weight")]
    return [n for n in sorted(names) if not re.match(r"vit_|swin|maxvit|regnet_y_128gf|inception_v3$|googlenet$", n)] + [
        "googlenet", "inception_v3"]


def build_torchvision(name):
    import torchvision.models as m

    kind = dict(aux_logits=False, init_weights=True) if name in ("googlenet", "inception_v3") else {}
    return getattr(m, name)(weights=None, **kind)


def build_timm(name):
    import timm
    from timm.layers import set_exportable

    set_exportable(True)
    return timm.create_model(name, pretrained=False, exportable=True)


def patterns(n, size):
    """Pictures that differ in the large, N x 3 x size x size."""
    random = np.random.default_rng(5)
    x = np.zeros((n, size, size, 3), np.float32)
    for i in range(n):
        coarse = random.integers(0, 256, (2 + i % 7, 2 + i % 7, 3)).astype(np.uint8)
        x[i] = np.asarray(Image.fromarray(coarse).resize((size, size), Image.BICUBIC)) / np.float32(64) - 2
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def take_statistics(model, reach, wider, x, generator):
    """Running statistics become those of x, variances `wider` times theirs, but for a share of up to reach."""
    kind = torch.nn.modules.batchnorm._BatchNorm
    norms = [m for m in model.modules() if isinstance(m, kind) and m.running_var is not None]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # The mean of all batches, which are one.
        norm.train()
    with torch.no_grad():
        model(torch.from_numpy(x))
    model.eval()
    for norm in norms:
        off = lambda t: torch.rand(t.shape, generator=generator) * 2 * reach - reach  # noqa: E731
        norm.running_mean += off(norm.running_mean) * norm.running_var.sqrt()
        norm.running_var *= wider * (1 + off(norm.running_var))


def randomise(model, reach, generator):
    """Weights stay as they were initialised; what starts as ones and zeros does not stay that."""
    uniform = lambda t, low, high: t.data.copy_(torch.rand(t.shape, generator=generator) * (high - low) + low)  # noqa: E731
    for module in model.modules():
        if getattr(module, "running_var", None) is not None:
            uniform(module.running_mean, -reach, reach)
            uniform(module.running_var, 1 - reach, 1 + reach)
        if "Norm" in type(module).__name__ or "BatchNorm" in type(module).__name__:
            for name, around in (("weight", 1), ("bias", 0)):
                if getattr(module, name, None) is not None:
                    uniform(getattr(module, name), around - reach, around + reach)
    for p in model.parameters():  # Biases of 0, scales of 1e-6 and the like would hide what they stand behind.
        if p.numel() > 1 and float(p.min()) == float(p.max()):
            around = float(p.min()) if abs(float(p.min())) > 0.1 else 0
            uniform(p, around - reach, around + reach)


def export_torch(model, size, form, exporter, opset, path):
    kind = dict(input_names=["input"], output_names=["output"])
    if form == "preserve":
        kind.update(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
    x = torch.zeros(2, 3, size, size)
    if exporter == "dynamo":
        torch.onnx.export(model, (x,), path, dynamo=True, external_data=False, verbose=False, opset_version=opset,
                          dynamic_shapes=({0: torch.export.Dim("N")},), **kind)
    else:
        torch.onnx.export(model, x[:1], path, dynamo=False, opset_version=opset,
                          dynamic_axes={"input": {0: "N"}, "output": {0: "N"}}, **kind)


def build_keras(name, size):
    import keras

    return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=10,
                                             classifier_activation=None)


def randomise_keras(model, reach):
    random = np.random.default_rng(1)
    for w in model.weights:
        value = np.asarray(w.numpy() if hasattr(w, "numpy") else w)
        if value.ndim == 1:
            name = w.name.split("/")[-1].split(":")[0]  # Keras 2: LAYER/NAME:0
            around = 1 if name in ("gamma", "moving_variance", "variance") else 0
            w.assign(random.uniform(around - reach, around + reach, value.shape).astype(np.float32))


def run(path, x):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def nmse(want, got):
    return float(np.sum((want.astype(np.float64) - got) ** 2) / max(np.sum(want.astype(np.float64) ** 2), 1e-30))


class Thaw:
    def __init__(self, build):
        self.build = build
        self.folder = tempfile.mkdtemp()
        self.worker = None

    def features(self, path, pixels):
        if self.worker is None or self.worker.poll() is not None:
            self.worker = subprocess.Popen([os.path.join(self.build, "graph_features"), "1"], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, text=True)
        p, f = (os.path.join(self.folder, n) for n in ("pixels", "features"))
        pixels.tofile(p)
        self.worker.stdin.write(f"{path} {p} {f} map\n")
        self.worker.stdin.flush()
        answer = self.worker.stdout.readline().strip()
        if not answer.startswith("ok"):
            return None, answer or "crashed"
        h, w, c = (int(v) for v in answer.split()[1:])
        y = np.fromfile(f, np.float32).reshape(len(pixels), h, w, c).transpose(0, 3, 1, 2)
        return y.reshape(len(pixels), -1), ""

    def stop(self):
        """What it has not answered yet would be taken for the answer to the next question."""
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait()
            self.worker = None

    def inspect(self, path, *more):
        return self.call("thaw", "inspect", path, *more)

    def call(self, program, *words):
        r = subprocess.run([os.path.join(self.build, program), *words], capture_output=True, text=True)
        return r.returncode == 0, r.stdout, r.stderr.strip()

    def plan(self, path):
        """Whether CUDA has a kernel for each step ("yes", "no", "" where nobody can say), and why not."""
        emulated = os.path.join("tests", "simt", "thaw_simt86")
        program = emulated if os.path.exists(os.path.join(self.build, emulated)) else "thaw"
        good, _, error = self.call(program, "inspect", path, "--plan", "--device=cuda:h100", "--precision=fp16")
        if "no CUDA kernels" in error:
            return "", ""
        return ("yes", "") if good else ("no", f"on CUDA: {shorten(error)}")


def lowest_trained(text):
    table = text[text.find("Training above"):]
    rows = [line for line in table.splitlines() if re.match(r"^ +\d+ ", line)]
    for i, row in enumerate(rows):
        words = row.split()
        if len(words) > 5 and re.match(r"^[0-9.]+$", words[4]):  # Otherwise it says why not.
            return "all" if i == 0 else "above " + words[1]
    return "no"


def shorten(text):
    text = re.sub(r"^(refused )?(thaw: )?(/\S+: )?", "", text)
    text = text.replace("the model uses operators that Thaw does not have: ", "")
    return re.sub(r"; (export it without them|cut the file).*", "", text)[:140]


FIELDS = ["library", "name", "exporter", "opset", "form", "imported", "frozen", "trained", "cuda", "why"]
LAST = ["asked", "bundle"]  # Behind them in the table, where older ones have the first alone, or neither.
REACHES = (0.3, 0.1, 0.03)


def is_calm(model, x, call):
    """Whether its numbers are finite, and hang on those of the picture as a network's should. The noise is ten times as
    large as what it stands for, which a float's last bit would round, and what it changes a hundred times."""
    noise = np.random.default_rng(8).normal(0, 1e-6, x.shape).astype(np.float32)
    y = call(model, x)
    return np.isfinite(y).all() and nmse(y, call(model, x * (1 + noise))) < TOLERANCE


def call_keras(model, x):
    import keras

    y = model(x, training=False)
    return keras.ops.convert_to_numpy(y) if hasattr(keras, "ops") else y.numpy()


def call_torch(model, x):
    with torch.no_grad():
        y = model(torch.from_numpy(np.ascontiguousarray(x)))
    return (y[0] if isinstance(y, (tuple, list)) else y).numpy()


class Source:
    """A network that is calm, and the smallest picture that it takes."""

    def __init__(self, library, name):
        self.library, self.name, self.model = library, name, None
        build = {"torchvision": build_torchvision, "keras": build_keras}.get(library, build_timm)
        sizes = (64, 128, 224, 240, 256, 299)
        if re.match("alexnet|vgg", name):
            sizes = sizes[2:]  # What they pool from smaller ones to 6 x 6 or 7 x 7, the older exporter does not write.
        for size in sizes:
            self.size, self.pixels = size, np.random.default_rng(7).integers(0, 256, (PICTURES, size, size, 3), np.uint8)
            self.x = self.pixels.astype(np.float32) / 64 - 2
            if library != "keras":
                self.x = np.ascontiguousarray(self.x.transpose(0, 3, 1, 2))
            try:
                for wider in (1, 1.2, 1.5, None) if library != "keras" else (None,):
                    for reach in REACHES:
                        if self.draw(build, reach, wider):
                            return
                return
            except (RuntimeError, AssertionError, ValueError, IndexError) as e:
                self.model, self.error = None, str(e).strip().split("\n")[0][:80]

    def draw(self, build, reach, wider):
        """Whether the network is calm. wider: how much its running variances are larger than those of pictures; None:
        its running statistics are random."""
        if self.library == "keras":
            self.model = build(self.name, self.size)
            randomise_keras(self.model, reach)
            return is_calm(self.model, self.x, call_keras)
        torch.manual_seed(1)
        generator = torch.Generator().manual_seed(1)
        self.model = build(self.name).eval()
        randomise(self.model, reach, generator)
        if wider:
            take_statistics(self.model, reach, wider, patterns(8, self.size), generator)
        return is_calm(self.model, self.x, call_torch)

    def export(self, form, exporter, opset, path):
        if exporter == "tf2onnx":
            import tensorflow
            import tf2onnx

            pixels = tensorflow.TensorSpec((None, self.size, self.size, 3), name="input")
            tf2onnx.convert.from_keras(self.model, [pixels], opset=opset, output_path=path)
        elif self.library == "keras":
            self.model.export(path, format="onnx", verbose=False, **({"opset_version": opset} if opset else {}))
        else:
            export_torch(self.model, self.size, form, exporter, opset, path)


def check_bundle(thaw, path):
    """The largest difference of a score, or "no"; and what was wrong."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            _, worst, own = test_export.check_model(os.path.join(thaw.build, "thaw"), path)
            return f"{worst:.0e}" + (f" own {own:.0e}" if own else ""), ""
    except SystemExit as e:
        return "no", shorten(" ".join(str(e.code).split()))
    except Exception as e:  # noqa: BLE001
        return "no", f"{type(e).__name__}: {shorten(' '.join(str(e).split()))}"


def check(thaw, source, exporter, opset, form, keep, bundles):
    row = dict.fromkeys(FIELDS + LAST, "")
    row.update(library=source.library, name=source.name, exporter=exporter, opset=str(opset), form=form)
    path = os.path.join(keep or thaw.folder, f"{source.library}_{source.name}_{exporter}_{form}_{opset}.onnx")
    if source.model is None:
        return {**row, "why": f"not made: {source.error}"}
    try:
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            source.export(form, exporter, opset, path)
    except Timeout:
        return {**row, "why": "it was not exported in time"}
    except Exception as e:  # noqa: BLE001
        return {**row, "why": f"not exported: {str(e).strip().split(chr(10))[0][:100]}"}
    import onnx

    row["opset"] = str(max(o.version for o in onnx.load(path, load_external_data=False).opset_import if not o.domain))
    try:
        want = run(path, source.x)
    except Exception as e:  # noqa: BLE001
        return {**row, "why": f"ONNX Runtime: {str(e).strip()[:100]}"}
    if not np.isfinite(want).all():
        return {**row, "why": "its own numbers are not finite"}
    pixels = source.pixels
    good, text, error = thaw.inspect(path, "--train")
    row["imported"] = "yes" if good else "no"
    if not good:
        row["why"] = shorten(error)
        return row
    row["trained"] = lowest_trained(text)
    row["cuda"], row["why"] = thaw.plan(path)
    got, why = thaw.features(path, pixels)
    if got is None:
        row["frozen"], row["why"] = "no", shorten(why)
    elif got.size != want.size:
        row["frozen"], row["why"] = "no", f"{got.shape} features, not {want.shape}"
    else:
        error = nmse(want.reshape(len(pixels), -1), got)
        row["frozen"] = f"{error:.0e}" if error <= TOLERANCE else "no"
        if not error <= TOLERANCE:
            row["why"] = f"NMSE {error:.1e}"
    if bundles and row["frozen"] not in ("", "no"):
        row["bundle"], why = check_bundle(thaw, path)
        row["why"] = why or row["why"]
    if not keep:
        os.remove(path)
    return row


class Timeout(BaseException):  # So that no library takes it for a failure of its own.
    pass


def stop(signal_, frame):
    raise Timeout


def key(row):
    return row["library"], row["name"], row["exporter"], row["asked"], row["form"]


def read_table(path):
    if not path or not os.path.exists(path):
        return []
    with open(path) as f:
        return [dict(zip(FIELDS + LAST, line.rstrip("\n").split("\t"))) for line in f]


def report(rows):
    """A line for each library, exporter, opset and form: what could be exported, and what became of it."""
    groups = collections.defaultdict(list)
    for r in rows:
        if r["imported"]:
            groups[r["library"], r["exporter"], r["opset"], r["form"]].append(r)
    print("| library | exporter | opset | form | exported | imported | frozen | trained from the pixels | planned on CUDA"
          " | worst NMSE | bundles | within 1e-4 | as other last bits |")
    for group, mine in sorted(groups.items()):
        right = [float(r["frozen"]) for r in mine if r["frozen"] not in ("", "no")]
        counts = [len(mine), sum(r["imported"] == "yes" for r in mine), len(right), sum(r["trained"] == "all" for r in mine),
                  sum(r["cuda"] == "yes" for r in mine)]
        tried = [r["bundle"] for r in mine if r.get("bundle")]
        alike = [float(b) for b in tried if b != "no" and "own" not in b]
        print("| " + " | ".join(str(v) for v in [*group, *counts]) + f" | {max(right, default=0):.0e} | {len(tried)}"
              f" | {len(alike)} | {sum('own' in b for b in tried)} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--models", default="")
    parser.add_argument("--library", default="all")
    parser.add_argument("--exports", default="torchscript:17,dynamo:18")
    parser.add_argument("--forms", default="eval")
    parser.add_argument("--bundles", action="store_true")
    parser.add_argument("--limit", type=int, default=120)
    parser.add_argument("--keep")
    parser.add_argument("--table")
    args = parser.parse_args()
    if torch:
        torch.set_num_threads(1)
    known = {"torchvision": torchvision_models, "timm": lambda: TIMM, "hybrids": lambda: HYBRIDS, "keras": lambda: KERAS}
    libraries = list(known) if args.library == "all" else args.library.split(",")
    names = [(library, n) for library in libraries for n in known[library]()]
    if args.models:
        names = [(library, n) for library, n in names if n in args.models.split(",")]
    exports = [(e.split(":")[0], int(e.split(":")[1])) for e in args.exports.split(",")]
    thaw, rows = Thaw(args.build), read_table(args.table)
    done = {key(r) for r in rows}
    signal.signal(signal.SIGALRM, stop)
    for library, name in names:
        source = None
        for exporter, opset in exports:
            for form in args.forms.split(","):
                wanted = dict(library=library, name=name, exporter=exporter, asked=str(opset), form=form)
                if key(wanted) in done:
                    continue
                signal.alarm(args.limit)
                try:
                    source = source or Source(library, name)
                    row = check(thaw, source, exporter, opset, form, args.keep, args.bundles)
                except Timeout:
                    thaw.stop()
                    row = {**dict.fromkeys(FIELDS + LAST, ""), **wanted, "opset": str(opset), "why": "out of time"}
                signal.alarm(0)
                row["asked"] = str(opset)
                rows.append(row)
                line = "\t".join(row[f] for f in FIELDS + LAST)
                print(line, flush=True)
                if args.table:
                    with open(args.table, "a") as f:
                        f.write(line + "\n")
    report(rows)


if __name__ == "__main__":
    sys.exit(main())
