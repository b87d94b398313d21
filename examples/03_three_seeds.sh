#!/usr/bin/env bash
# bash examples/03_three_seeds.sh cifar10.zip resnet18-tinyimagenet.pth
#
# Was freezing good enough? CIFAR-10 with 500 images a class (4,500 to learn from, 500 to validate, the whole test set
# to score), three seeds, each with images, validation rows and luck of its own; a ResNet-18 at 64 px, ten epochs each.
# Ends with one table of means and 95 % intervals over the seeds. On two cores: about 35 minutes.
set -euo pipefail
data=$1
weights=$2
few=(--per-class 500 --precision bf16)
net=("${few[@]}" -b resnet18 --weights "$weights" --size 64)
train=(--epochs 10 --repeat 3)

# Classical heads; C is chosen on the validation rows.
featx fit "$data" --pixels --per-class 500 --sweep clip --repeat 3
featx fit "$data" "${net[@]}" -l avgpool --sweep clip --repeat 3

# The same head by gradient steps: on cached features, and on images that are cropped and mirrored anew each epoch.
featx train "$data" "${net[@]}" "${train[@]}" --mode frozen
featx train "$data" "${net[@]}" "${train[@]}" --mode frozen --augment crop-flip

featx train "$data" "${net[@]}" "${train[@]}" --mode finetune --unfreeze-from layer4
featx train "$data" "${net[@]}" "${train[@]}" --mode finetune --json | tee finetuned.json
featx train "$data" "${few[@]}" -b resnet18 --size 64 "${train[@]}" --mode scratch

# Softmax regression on the features of each fine-tuned network, on the images that network was tuned on.
for seed in 0 1 2; do
    run=$(python -c "import json; print(json.load(open('finetuned.json'))['runs'][$seed]['run'])")
    featx fit "$data" --per-class 500 --precision bf16 -b resnet18 --weights "run:$run" -l avgpool --sweep clip --seed "$seed"
done

# A small network from scratch on all 50,000 images (45,000 to learn from), at their own 32 px.
featx train "$data" -b lenet5 --mode scratch --epochs 10 --repeat 3

featx report --over-seeds --format md
