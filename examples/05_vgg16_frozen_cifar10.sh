#!/usr/bin/env bash
# bash examples/05_vgg16_frozen_cifar10.sh cifar10.zip
# bash examples/05_vgg16_frozen_cifar10.sh cifar10.zip --weights random:0 --per-class 20
#
# A frozen VGG16 at CIFAR-10's own 32 px with a head of two hidden layers, Adam, ten epochs. The base runs once, its
# features stay in the store, and an epoch costs what the head costs. Options after the data go to the command.
set -euo pipefail
data=$1
shift
featx train "$data" -b vgg16 --size 32 --mode frozen --head flat-mlp:256,128:dropout=0.5 \
    --optimizer adam --lr 1e-4 --batch-size 64 --epochs 10 --bench "$@"
featx report --format md
