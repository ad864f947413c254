from churn_pipeline.training.promotion import Champion, decide

GOOD = {"roc_auc": 0.84, "brier": 0.13, "base_rate": 0.26, "brier_base_rate": 0.19}


def test_the_first_version_passes_if_it_beats_the_base_rate():
    assert decide(GOOD, None).promote


def test_nobody_passes_who_does_not_beat_the_base_rate():
    assert not decide({**GOOD, "brier": 0.19}, None).promote
    assert not decide({**GOOD, "roc_auc": 0.5}, None).promote
    assert not decide({**GOOD, "roc_auc": 0.5}, Champion("3", 0.4)).promote


def test_a_candidate_passes_if_it_is_no_worse_than_the_champion_less_the_margin():
    assert decide(GOOD, Champion("3", 0.844), margin=0.005).promote
    assert not decide(GOOD, Champion("3", 0.846), margin=0.005).promote


def test_the_reason_names_both_numbers_and_the_champion():
    reason = decide(GOOD, Champion("3", 0.9)).reason
    assert reason == "ROC AUC 0.8400 against 0.9000 of version 3 on the same holdout: worse by more than 0.005."


def test_a_champion_that_can_score_nobody_is_replaced_and_one_that_could_not_be_compared_is_not():
    assert decide(GOOD, Champion("3", trouble="Its files are cut off.", unusable=True)).promote
    kept = decide(GOOD, Champion("3", trouble="It needs lightgbm."))
    assert not kept.promote
    assert kept.reason.endswith("version 3: It needs lightgbm.")
