#!/usr/bin/env bash
# Makes flower_or_not.onnx, the small CNN of the built-in story, with Thaw alone.
#
#     datasets/make_base_cnn.sh BUILD WORK OUT.onnx
#
# BUILD: where thaw and thaw-draw are. WORK: a folder for pictures, cache (4 GB) and runs.
#
# A network that only ever answers yes or no keeps little of what it sees. So it learns the kind of each
# picture first (cosmos, iris, house, ...), from random weights; then all of it is frozen, and a new head
# says flower or not. What is left tells flowers from the rest, like the network that a research group
# would bring along. The pictures are of the base species and of things that are no flower, never of the
# demo's eight species, and drawn with another seed than the demo's.
set -euo pipefail
build=$(realpath "$1")
mkdir -p "$2"
work=$(realpath "$2")
out=$(realpath "$3")

"$build/thaw-draw" base2 "$work/base" 6000 360 128 1020

# One folder a kind, of links: base/train/flower/iris-0001.jpg becomes kinds/train/iris/iris-0001.jpg.
for part in train test; do
    (cd "$work/base/$part" && printf '%s\n' */*-0000.jpg) | while IFS=/ read -r class first; do
        kind=${first%-0000.jpg}
        mkdir -p "$work/kinds/$part/$kind"
        ln -sf "$work/base/$part/$class/$kind"-[0-9]*.jpg "$work/kinds/$part/$kind/"
    done
done

train() { "$build/thaw" train --cache.dir="$work/cache" "$@"; }

# From scratch with cropped, mirrored, turned and coloured versions, then from there with the pictures as
# they are; there is a test set, so all others train.
"$build/thaw" new --arch=resnet_tiny --new.size=96 --classes=42 -o "$work/new.onnx"
train --model="$work/new.onnx" --out="$work/views" --data.train="$work/kinds" --data.validation=0 \
    --freeze=none --init=random --image.shorter=96 --views=3 --views.rotate=15 --top.epochs=8
train --model="$work/views/model.onnx" --out="$work/plain" --data.train="$work/kinds" \
    --data.validation=0 --freeze=none --top.norm=full --top.lr=0.03 --top.epochs=4

train --model="$work/plain/model.onnx" --out="$work/run" --data.train="$work/base"
cp "$work/run/model.onnx" "$out"
