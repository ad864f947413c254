import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from churn_pipeline.training.estimators import pipeline, signature
from churn_pipeline.training.fitting import TrainingDataUnfit, best_threshold, fit, split
from churn_pipeline_tests.training.gym_members import GYM, members

INPUTS = signature(GYM)


def held_back(table, **options):
    return set(split(table, GYM, INPUTS, **options).holdout_rows["member"].to_pylist())


def test_a_fifth_of_each_kind_is_held_back_and_nobody_is_in_both():
    table = members(1000)
    rows = split(table, GYM, INPUTS)
    left = pc.sum(table["churned"]).as_py()
    assert len(rows.train) + len(rows.holdout) == 1000
    assert rows.holdout_churned.sum() == round(0.2 * left)
    assert len(rows.holdout) == round(0.2 * left) + round(0.2 * (1000 - left))


def test_who_is_held_back_and_the_digest_do_not_depend_on_the_order_of_rows():
    table = members()
    shuffled = table.take(np.random.default_rng(5).permutation(table.num_rows))
    assert held_back(table) == held_back(shuffled)
    assert split(table, GYM, INPUTS).digest == split(shuffled, GYM, INPUTS).digest
    assert split(table, GYM, INPUTS).digest != split(members(seed=1), GYM, INPUTS).digest


def test_as_the_table_grows_almost_everyone_stays_on_their_side():
    before, after = held_back(members(800)), held_back(pa.concat_tables([members(800), members(900).slice(800)]))
    assert len(after - before - {f"m{i}" for i in range(800, 900)}) < 0.1 * len(before)


def test_rows_of_one_customer_stay_together():
    table = members()
    twice = pa.concat_tables([table, table])
    rows = split(twice, GYM, INPUTS)
    ids = rows.holdout_rows["member"].to_pylist()
    assert len(ids) == 2 * len(set(ids))


def test_rows_without_a_label_are_left_out():
    table = members()
    unknown = table.set_column(
        table.column_names.index("churned"),
        "churned",
        pc.if_else(pa.array(np.arange(400) < 50), None, table["churned"]),
    )
    rows = split(unknown, GYM, INPUTS)
    assert len(rows.train) + len(rows.holdout) == 350


def test_a_table_without_ids_is_split_by_row():
    rows = split(members().drop(["member"]), GYM, INPUTS)
    assert 70 < len(rows.holdout) < 90


@pytest.mark.parametrize("rows", [0, 12])
def test_too_few_customers_are_an_error_that_counts_them(rows):
    with pytest.raises(TrainingDataUnfit, match=rf"^{rows} customers cannot train a model"):
        split(members().slice(0, rows), GYM, INPUTS)


def test_customers_who_all_stayed_are_an_error():
    table = members().drop(["churned"]).append_column("churned", pa.array([False] * 400))
    with pytest.raises(TrainingDataUnfit, match=r"0 left and 400 stayed"):
        split(table, GYM, INPUTS)


def test_the_threshold_is_the_lowest_with_the_highest_f1():
    assert best_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.3, 0.36789, 0.8])) == 0.3678


def test_the_threshold_is_chosen_without_the_holdout():
    rows = split(members(), GYM, INPUTS)
    _, threshold = fit(pipeline(GYM), rows.train, rows.train_churned)
    _, again = fit(pipeline(GYM), rows.train, rows.train_churned)
    assert 0 < threshold == again < 1
