"""forest-size: what leaves and tried features cost and bring, for docs/training.md.

python bench/forest_size.py
"""

import time

from models.rules import StageRules
from models.simulator.simulator import simulate
from models.study.cases import case_rows
from models.training.dataset import record
from models.training.train import TrainConfig, filled, train_on


def main() -> None:
    rules = StageRules()
    recording = record(simulate(TrainConfig().simulation()), rules)
    print("| features tried | leaves | accuracy | macro-F1 | ECE | E | training | rows/s |")
    print("|---|---|---|---|---|---|---|---|")
    for tried, leaves in ((3, 32), (3, 63), (5, 16), (5, 32), (5, 63), (9, 32)):
        begin = time.perf_counter()
        model = train_on(recording, TrainConfig(features_tried=tried, leaves=leaves), rules)
        seconds = time.perf_counter() - begin
        rows = filled(model.test.X, model.medians)[:20_000]
        model.forest.warm_up()
        speeds = []
        for _ in range(5):
            begin = time.perf_counter()
            model.forest.predict(rows)
            speeds.append(len(rows) / (time.perf_counter() - begin))
        confidence = model.forest.predict(filled(case_rows(), model.medians))[4, 1]
        held = model.held_out
        print(
            f"| {tried} | {leaves} | {held['accuracy']:.2%} | {held['macro_f1']:.2%} "
            f"| {held['calibration']['ece']:.3f} | {confidence:.2f} | {seconds:.1f} s | {sorted(speeds)[2]:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
