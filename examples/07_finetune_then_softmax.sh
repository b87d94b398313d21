#!/usr/bin/env bash
# bash examples/07_finetune_then_softmax.sh cifar10.zip
#
# AlexNet, ResNet-18 and VGG16 fine-tuned on CIFAR-10, AlexNet from scratch, and softmax regression on the fine-tuned
# ResNet-18's layers and on raw pixels. Ten epochs, batches of 256, images of the networks' own 224 px. For GPUs;
# options after the data go to every training, for example --per-class 50 --size 64 --weights random:0.
set -euo pipefail
data=$1
shift
how=(--epochs 10 --batch-size 256 "$@")
featx train "$data" -b alexnet --mode scratch "${how[@]}"
featx train "$data" -b alexnet --mode finetune "${how[@]}"
featx train "$data" -b vgg16 --mode finetune "${how[@]}"
featx train "$data" -b resnet18 --mode finetune "${how[@]}" --json >tuned.json
run=$(python -c "import json; print(json.load(open('tuned.json'))['run'])")

# The probe sees the network as it was tuned: its weights, its preprocessing, its size.
featx fit "$data" -b "run:$run" -l 'layer*:avg' --sweep clip -o layers.png
featx fit "$data" --pixels --sweep clip
featx report --format md
