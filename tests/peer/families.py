#!/usr/bin/env python3
"""Networks of many families, exported with random weights: which of them Thaw reads, freezes and trains.

usage: families.py BUILD [--models WORD,WORD] [--library torchvision|timm|all] [--opset N] [--forms eval,preserve]
                   [--keep FOLDER] [--table FILE]

BUILD is a build of Thaw with its tests: graph_features and thaw are taken from there. Needs torch,
torchvision, timm and onnxruntime. Weights are random, and so are the running statistics and the scales
of all normalisations, within bounds in which a network of hundreds of layers stays calm: one whose
features change by more than 1e-9 when its pixels do by 1e-6 of their size in ONNX Runtime itself is drawn
again, with narrower bounds.

imported  `thaw inspect` reads it
frozen    the whole network is the trunk: what it computes is ONNX Runtime's, NMSE 1e-9 or better
trained   how much can be trained: "all" from the pixels on, or the lowest cut above which it can
"""
import argparse
import inspect
import io
import os
import re
import subprocess
import sys
import tempfile
import warnings

import numpy as np

warnings.filterwarnings("ignore")
import onnxruntime as ort  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

TOLERANCE, PICTURES = 1e-9, 2

# One of the smallest of each family of timm's that is made of convolutions (or of MLPs on patches).
TIMM = """
bat_resnext26ts botnet26t_256 byobnet:gernet_s caformer_s18 coat_lite_tiny coatnet_nano_rw_224 convformer_s18
convit_tiny convmixer_768_32 convnext_atto convnext_atto_ols convnextv2_atto crossvit_tiny_240 cs3darknet_s
cs3darknet_focus_s cs3sedarknet_l cs3edgenet_x cspdarknet53 cspresnet50 cspresnext50 darknet17 darknet21
densenet121 dla34 dla46_c dla60_res2net dla60x_c dm_nfnet_f0 dpn48b dpn68 dpn68b eca_botnext26ts_256
eca_halonext26ts eca_nfnet_l0 eca_resnet33ts eca_resnext26ts ecaresnet26t ecaresnetlight ecaresnext26t_32x4d
edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientnet_b0 efficientnet_b0_g8_gn
efficientnet_b0_gn efficientnet_cc_b0_4e efficientnet_em efficientnet_es efficientnet_es_pruned
efficientnet_lite0 efficientnetv2_rw_t efficientvit_b0 efficientvit_m0 ese_vovnet19b_dw ese_vovnet19b_slim
fasternet_t0 fastvit_t8 fbnetc_100 fbnetv3_b focalnet_tiny_srf gcresnet33ts gcresnext26ts gernet_s
ghostnet_050 ghostnetv2_100 gmixer_12_224 gmlp_ti16_224 halo2botnet50ts_256 halonet26t haloregnetz_b
hardcorenas_a hgnet_tiny hgnetv2_b0 hiera_tiny_224 hrnet_w18_small inception_next_atto inception_resnet_v2
inception_v3 inception_v4 lambda_resnet26t lcnet_035 legacy_senet154 legacy_seresnet18 legacy_seresnext26_32x4d
legacy_xception levit_128s mambaout_femto maxvit_pico_rw_256 mixer_s32_224 mixnet_s mixnet_xl mnasnet_050
mnasnet_small mobilenet_edgetpu_100 mobilenet_edgetpu_v2_xs mobilenetv1_100 mobilenetv1_100h mobilenetv2_035
mobilenetv3_large_075 mobilenetv3_rw mobilenetv3_small_050 mobilenetv4_conv_small mobilenetv4_conv_medium
mobilenetv4_hybrid_medium mobileone_s0 mobilevit_xxs mobilevitv2_050 nasnetalarge nest_tiny nextvit_small
nf_ecaresnet26 nf_regnet_b0 nf_resnet26 nf_seresnet26 nfnet_f0 nfnet_l0 pit_ti_224 pnasnet5large poolformer_s12
poolformerv2_s12 pvt_v2_b0 rdnet_tiny regnetv_040 regnetx_002 regnety_002 regnetz_005 regnetz_b16
regnetz_c16_evos regnetz_d8 repghostnet_050 repvgg_a0 repvgg_d2se repvit_m0_9 res2net50_14w_8s res2net50d
res2next50 resmlp_12_224 resnest14d resnest26d resnest50d_1s4x24d resnet10t resnet18 resnet18d resnet26t
resnet32ts resnet33ts resnet50_clip_gap resnet50_gn resnet51q resnet61q resnetaa50 resnetaa34d resnetblur18
resnetrs50 resnetv2_18 resnetv2_50d_evos resnetv2_50d_frn resnetv2_50d_gn resnetv2_50x1_bit resnext26ts
resnext50_32x4d rexnet_100 rexnetr_100 sebotnet33ts_256 sedarknet21 sehalonet33ts selecsls42 selecsls42b
selecsls60 semnasnet_050 sequencer2d_s seresnet18 seresnet33ts seresnetaa50d seresnext26d_32x4d seresnext26ts
shvit_s1 skresnet18 skresnext50_32x4d spnasnet_100 starnet_s1 swiftformer_xs test_byobnet test_convnext
test_convnext2 test_convnext3 test_efficientnet test_efficientnet_evos test_efficientnet_gn test_efficientnet_ln
test_mambaout test_nfnet test_resnet tf_efficientnet_b0 tf_efficientnet_cc_b0_4e tf_efficientnet_es
tf_efficientnet_lite0 tf_efficientnetv2_b0 tf_mixnet_s tf_mobilenetv3_small_minimal_100 tiny_vit_5m_224
tinynet_e tresnet_m vgg11 vgg11_bn vitamin_small_224 vovnet39a wide_resnet50_2 xception41 xception41p xception65
xcit_nano_12_p16_224
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


def export(model, size, form, opset):
    out = io.BytesIO()
    kind = dict(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False) if form == "preserve" else {}
    torch.onnx.export(model.eval(), torch.zeros(1, 3, size, size), out, opset_version=opset, input_names=["input"],
                      output_names=["output"], dynamic_axes={"input": {0: "N"}, "output": {0: "N"}}, **kind)
    return out.getvalue()


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

    def inspect(self, path, *more):
        r = subprocess.run([os.path.join(self.build, "thaw"), "inspect", path, *more], capture_output=True, text=True)
        return r.returncode == 0, r.stdout, r.stderr.strip()


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


def check(thaw, library, name, form, opset, keep):
    row = dict(library=library, name=name, form=form, imported="", frozen="", trained="", why="")
    folder = keep or thaw.folder
    path = os.path.join(folder, f"{library}_{name}_{form}_{opset}.onnx")
    x = None
    for reach in (0.3, 0.1, 0.03):
        generator = torch.Generator().manual_seed(1)
        torch.manual_seed(1)
        try:
            model = (build_torchvision if library == "torchvision" else build_timm)(name)
        except Exception as e:  # noqa: BLE001
            return None if "Unknown model" in str(e) else {**row, "why": f"not made: {str(e)[:80]}"}
        randomise(model, reach, generator)
        error = ""
        for size in (64, 128, 224, 240, 256, 299):
            try:
                data = export(model, size, form, opset)
                break
            except Exception as e:  # noqa: BLE001
                error = str(e).strip().split("\n")[0][:100]
        else:
            return {**row, "why": f"PyTorch does not export it: {error}"}
        with open(path, "wb") as f:
            f.write(data)
        pixels = np.random.default_rng(7).integers(0, 256, (PICTURES, size, size, 3), dtype=np.uint8)
        x = np.ascontiguousarray((pixels.astype(np.float32) / 64 - 2).transpose(0, 3, 1, 2))
        try:
            want = run(path, x)
            noise = np.random.default_rng(8).normal(0, 1e-6, x.shape).astype(np.float32)
            calm = nmse(want, run(path, x * (1 + noise))) < TOLERANCE and np.isfinite(want).all()
        except Exception as e:  # noqa: BLE001
            return {**row, "why": f"ONNX Runtime: {str(e).strip()[:100]}"}
        if calm:
            break
    good, text, error = thaw.inspect(path, "--train")
    row["imported"] = "yes" if good else "no"
    if not good:
        row["why"] = shorten(error)
        return row
    row["trained"] = lowest_trained(text)
    got, why = thaw.features(path, pixels)
    if got is None:
        row["frozen"], row["why"] = "no", shorten(why)
    elif got.size != want.size:
        row["frozen"], row["why"] = "no", f"{got.shape} features, not {want.shape}"
    else:
        error = nmse(want.reshape(len(pixels), -1), got)
        row["frozen"] = f"{error:.0e}" if error <= TOLERANCE else "no"
        if error > TOLERANCE:
            row["why"] = f"NMSE {error:.1e}" + ("" if calm else ", chaotic")
    if not keep:
        os.remove(path)
    return row


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--models", default="")
    parser.add_argument("--library", default="all")
    parser.add_argument("--opset", type=int, default=17)
    parser.add_argument("--forms", default="eval,preserve")
    parser.add_argument("--keep")
    parser.add_argument("--table")
    args = parser.parse_args()
    torch.set_num_threads(1)
    import timm

    names = []
    if args.library in ("all", "torchvision"):
        names += [("torchvision", n) for n in torchvision_models()]
    if args.library in ("all", "timm"):
        known = set(timm.list_models())
        names += [("timm", n) for n in TIMM if n in known]
    if args.models:
        names = [(lib, n) for lib, n in names if n in args.models.split(",")]
    thaw, rows = Thaw(args.build), []
    for library, name in names:
        for form in args.forms.split(","):
            row = check(thaw, library, name, form, args.opset, args.keep)
            if row:
                rows.append(row)
                print("| " + " | ".join(row.values()) + " |", flush=True)
    for library in ("torchvision", "timm"):
        for form in args.forms.split(","):
            mine = [r for r in rows if (r["library"], r["form"]) == (library, form) and r["imported"]]
            if mine:
                counts = [sum(r["imported"] == "yes" for r in mine), sum(r["frozen"] not in ("", "no") for r in mine),
                          sum(r["trained"] == "all" for r in mine)]
                print(f"{library} {form}: of {len(mine)} imported {counts[0]}, frozen {counts[1]}, trained from the pixels {counts[2]}")
    if args.table:
        with open(args.table, "w") as f:
            f.writelines("| " + " | ".join(r.values()) + " |\n" for r in rows)


if __name__ == "__main__":
    sys.exit(main())
