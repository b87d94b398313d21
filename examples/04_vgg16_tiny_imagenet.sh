#!/usr/bin/env bash
# bash examples/04_vgg16_tiny_imagenet.sh tiny-imagenet-200.zip
# bash examples/04_vgg16_tiny_imagenet.sh tiny-imagenet-200.zip --weights random:0 --per-class 5 --epochs 2
#
# VGG16 on Tiny-ImageNet at 64 px, from scratch, frozen and fine-tuned, and a frozen ResNet-50: heads stand directly on
# the convolutional base. Ends with a table of parameters and their MB, ms an image, images/s, seconds an epoch, test loss
# and accuracy, and the processor's name, as Markdown and as LaTeX; each run's folder holds its curves. Options after the
# data go to every command: the second line above is a rehearsal on few images.
set -euo pipefail
data=$1
shift
how=(--size 64 --batch-size 128 --bench "$@")

featx train "$data" -b vgg16 --head flat-linear --mode scratch "${how[@]}"
featx train "$data" -b vgg16 --head flat-linear --mode frozen "${how[@]}"
featx train "$data" -b vgg16 --head flat-linear --mode finetune "${how[@]}"
featx train "$data" -b resnet50 --head flat-mlp:512 --mode frozen "${how[@]}"

featx report --format md
featx report --format latex --output table.tex
