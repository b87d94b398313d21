#!/usr/bin/env bash
# bash examples/01_cifar10_layers.sh cifar10.zip resnet18-tinyimagenet.pth
#
# Softmax regression on raw pixels and on five frozen layers of a ResNet-18 at 64 px, on all of CIFAR-10. Any source with
# a train and a test split and any ResNet-18 state dict will do. On two cores: about three minutes.
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

featx report --format md
