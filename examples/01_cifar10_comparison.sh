#!/usr/bin/env bash
# bash examples/01_cifar10_comparison.sh cifar10.zip resnet18-tinyimagenet.pth
#
# Raw pixels, five frozen layers, and the three ways to train end to end, on CIFAR-10 with a ResNet-18 at 64 px.
# Any source with a train and a test split and any ResNet-18 state dict will do. On two cores: about 15 minutes.
set -euo pipefail
data=$1
weights=$2
net=(-b resnet18 --weights "$weights" --size 64)
layers=(layer1:avg layer2:avg layer3:avg layer4:avg avgpool)

# One pass over all images gives every layer; run again, it reads no image.
featx extract "$data" "${net[@]}" "${layers[@]/#/-l}"
featx extract "$data" "${net[@]}" "${layers[@]/#/-l}"

featx fit "$data" --pixels
for layer in "${layers[@]}"; do
    featx fit "$data" "${net[@]}" -l "$layer"
done

# Few images: 200 a class, of which a tenth validates. The test set stays whole.
featx fit "$data" --pixels --per-class 200 --C 0.01
featx fit "$data" "${net[@]}" -l avgpool --per-class 200 --C 0.01
featx train "$data" "${net[@]}" --mode frozen --per-class 200 --epochs 15
featx train "$data" "${net[@]}" --mode finetune --per-class 200 --epochs 15
featx train "$data" -b resnet18 --size 64 --mode scratch --per-class 200 --epochs 15

featx report --format md
