# mypy: ignore-errors
# (checked against packages of another environment)
"""Faust-streaming with a table and ONNX Runtime, writing to Redis through its asyncio client.

Settings come from the environment (PEER_KAFKA ...), since Faust has a command line of its own.
"""

import os
import sys
from typing import Any

import faust
import numpy as np
import onnxruntime
import redis.asyncio

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - runs in a folder of its own

from plain import Progress, apply, decision, empty, features

PIPELINE = 100
BOUNCE = float(os.environ["PEER_BOUNCE"])
app = faust.App(
    os.environ["PEER_GROUP"],
    broker=f"kafka://{os.environ['PEER_KAFKA']}",
    store="memory://",
    topic_partitions=int(os.environ["PEER_PARTITIONS"]),
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
)
clicks = app.topic(os.environ["PEER_TOPIC"], key_type=bytes, value_serializer="json")
table = app.Table("sessions", default=dict)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
model = onnxruntime.InferenceSession(os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"])
NAME, OUTPUT = model.get_inputs()[0].name, model.get_outputs()[1].name
store = redis.asyncio.Redis.from_url(os.environ["PEER_REDIS"])
progress = Progress(os.environ["PEER_PROGRESS"], 50)


@app.agent(clicks)
async def decide(events: Any) -> None:
    """One event at a time; to Redis in pipelines."""
    pipe = store.pipeline(transaction=False)
    async for event in events:
        session = event["session_id"]
        state = dict(table[session]) or empty(event["ts"])
        apply(state, event)
        table[session] = state
        row = np.array([features(state, BOUNCE)])
        probabilities = model.run([OUTPUT], {NAME: row})[0][0].tolist()
        pipe.set(f"decision:{session}", decision(session, probabilities, state["events"]), ex=1800)
        progress.add()
        if len(pipe) >= PIPELINE:
            await pipe.execute()


if __name__ == "__main__":
    app.main()
