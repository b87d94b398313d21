#!/usr/bin/env bash
# bash examples/06_vgg16_three_runs.sh cifar10.zip
# bash examples/06_vgg16_three_runs.sh cifar10.zip --weights random:0 --per-class 20 --epochs 2
#
# VGG16 fine-tuned on CIFAR-10 at 32 px in three runs of 15 epochs, each with a seed and a clock of its own, and once
# from scratch in 125 epochs: batches of 128, images cropped and mirrored. The best epoch by validation is kept, and the
# validation images are in no training set. Ends with a table, and all curves over each other in curves.png. For GPUs;
# options after the data go to every command.
set -euo pipefail
data=$1
shift
how=(-b vgg16 --size 32 --head flat-mlp:512 --batch-size 128 --augment crop-flip "$@")
featx train "$data" --mode finetune --epochs 15 --repeat 3 "${how[@]}"
featx train "$data" --mode scratch --epochs 125 "${how[@]}"
featx report --over-seeds --format md --curves curves.png
