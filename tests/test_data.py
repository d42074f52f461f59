import random

import numpy as np
import pyarrow as pa
import pytest
from conftest import make_rows

from fusion_hf.errors import UserError
from fusion_hf.logs.arrays import RoutingData, pivot
from fusion_hf.logs.schema import rows_to_table, validate


def by_cell(data):
    return {
        (q, c): (data.performance[i, j], data.cost[i, j])
        for i, q in enumerate(data.query_ids)
        for j, c in enumerate(data.candidates)
    }


def test_every_cell_is_where_its_key_says():
    rows = make_rows()
    data = RoutingData.from_table(validate(rows_to_table(rows)))
    cells = by_cell(data)
    assert data.candidates == ["ant", "bee", "cow"]
    assert len(cells) == len(rows)
    for row in rows:
        assert cells[row["query_id"], row["llm"]] == (row["performance"], row["cost"])
    assert np.isnan(data.judge).all()


def test_the_order_of_rows_does_not_matter():
    rows = make_rows() + [row | {"mode": "think", "performance": 0.5} for row in make_rows()]
    data = RoutingData.from_table(validate(rows_to_table(rows)))
    random.Random(0).shuffle(rows)
    again = RoutingData.from_table(validate(rows_to_table(rows)))
    assert data.candidates == again.candidates == ["ant", "ant_think", "bee", "bee_think", "cow", "cow_think"]
    assert by_cell(data) == by_cell(again)


def test_a_missing_cell_is_nan_and_not_zero():
    rows = make_rows()
    rows[4]["performance"] = None
    del rows[7]
    data = RoutingData.from_table(validate(rows_to_table(rows)))
    assert data.missing.sum() == 2


def test_subset_and_select_keep_rows_and_columns_together():
    data = RoutingData.from_table(validate(rows_to_table(make_rows())))
    part = data.subset([3, 1]).select(["cow", "ant"])
    assert part.query_ids == [data.query_ids[3], data.query_ids[1]]
    assert np.array_equal(part.performance, data.performance[[3, 1]][:, [2, 0]])
    assert len(data.of_task("squad")) == 6
    assert data.subset(np.array(data.tasks) == "squad").query_ids == data.of_task("squad").query_ids
    with pytest.raises(UserError, match="unknown candidate 'dog': the log has ant, bee, cow"):
        data.select(["dog"])


def test_an_empty_or_ungraded_log_says_so():
    with pytest.raises(UserError, match="the log is empty"):
        RoutingData.from_table(rows_to_table([]))
    rows = [row | {"performance": None} for row in make_rows()]
    with pytest.raises(UserError, match="no performance: grade it first"):
        RoutingData.from_table(rows_to_table(rows))
    with pytest.raises(UserError, match="no performance: routers cannot learn from judge scores alone"):
        RoutingData.from_table(rows_to_table([row | {"judge": 0.6} for row in rows]))


def test_three_columns_are_enough_to_pivot_and_chunks_do_not_matter():
    table = validate(rows_to_table(make_rows()))
    data = RoutingData.from_table(table)
    pieces = pa.concat_tables([table.slice(i, 5) for i in range(0, table.num_rows, 5)])
    ids, names, values = pivot(pieces.select(["query_id", "llm", "performance"]))
    assert (ids, names) == (data.query_ids, data.candidates)
    assert np.array_equal(values, data.performance)
    assert np.array_equal(pivot(pieces, "cost")[2], data.cost)
