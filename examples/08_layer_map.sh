#!/usr/bin/env bash
# bash examples/08_layer_map.sh cifar10.zip resnet18-tinyimagenet.pth layers.png
#
# Which layer of a frozen ResNet-18 at 64 px tells CIFAR-10's classes apart best? Five depths, each averaged to 1 x 1 and
# to 2 x 2, and whole (flat) where that is at most 4,096 columns; 1,000 images a class and the whole test set, C chosen for
# each layer on the validation rows. One pass over the images gives all of them. Draws the layer map. On two cores: about
# ten minutes.
set -euo pipefail
layers=()
for layer in maxpool layer1 layer2 layer3 layer4; do
    layers+=(-l "$layer:avg" -l "$layer:avg2")
done
layers+=(-l layer3)  # layer4 is 2 x 2 at this size: flat and 2 x 2 are the same
featx fit "$1" -b resnet18 --weights "$2" --size 64 "${layers[@]}" --per-class 1000 --sweep clip --output "$3"
