"""The first page's question names what the study has: one network is not compared with others."""

import pandas as pd

from lungkeras.report.summary import asked, verdicts

FACTS = {"dataset": "rsna", "scans": {"train": 30, "val": 8, "test": 9}}


def results(*backbones: str) -> pd.DataFrame:
    rows = [
        {"run": f"rsna-{name}-random", "dataset": "rsna", "backbone": name, "weights": "random"} for name in backbones
    ]
    return pd.DataFrame(rows)


def test_the_question_of_one_network_compares_nothing():
    said = asked([FACTS], results("resnet34"), of_the_paper=False)
    assert said == (
        "How well does ResNet-34 classify the chest X-rays of RSNA pneumonia, and how certain is that? One model was "
        "trained, then tested on 9 scans that it was not trained or chosen on."
    )


def test_the_question_of_several_networks_names_them():
    said = asked([FACTS], results("resnet34", "mobilenet_v3_large"), of_the_paper=False)
    assert said.startswith("Which of 2 networks (ResNet-34; MobileNetV3-Large) classifies the chest X-rays of RSNA")
    assert said.endswith("2 models were trained, then tested on 9 scans that none of them was trained or chosen on.")


def test_claims_are_counted_by_verdict():
    ledger = pd.DataFrame({"verdict": ["not run", "fails", "holds", "fails"]})
    assert verdicts(ledger) == "of 4, 1 holds, 2 fail and 1 was not run."
    assert verdicts(None) == verdicts(ledger.head(0)) == ""
