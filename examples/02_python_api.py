"""python examples/02_python_api.py

Choose a layer by cross-validation, keep features in a store, save nothing by hand: the Python API on scikit-learn's
digits with a LeNet-5 of random weights. Needs no network and a few seconds.
"""

from __future__ import annotations

import tempfile

from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline

from featx import FeatureExtractor, FeatureStore, SoftmaxRegression, load_source


def main() -> None:
    digits = load_source("digits")
    train, test, y_train, y_test = train_test_split(
        digits.images, digits.labels, random_state=0, stratify=digits.labels
    )
    with tempfile.TemporaryDirectory() as home:
        model = make_pipeline(
            FeatureExtractor("lenet5", "pool2", weights="random:0", store=FeatureStore(home)),
            SoftmaxRegression(C=0.1, standardize=True),
        )
        search = GridSearchCV(model, {"featureextractor__layers": ["pool1", "pool2", "fc1", "fc2"]}, cv=3)
        search.fit(train, y_train)
        print(
            f"best layer {search.best_params_['featureextractor__layers']}, accuracy {search.score(test, y_test):.3f}"
        )


if __name__ == "__main__":
    main()
