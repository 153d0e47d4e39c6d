# mypy: ignore-errors
# (checked against packages of another environment)
"""Quix Streams with state, ONNX Runtime, and its Redis sink, as its documentation does it.

python quix_onnx.py KAFKA REDIS_HOST:PORT TOPIC GROUP MODEL.onnx BOUNCE PROGRESS_FILE STATE_FOLDER sink|set

With ``set``, a SET an event instead of the sink: the common way, whose decisions can be read at once and not only at
the next checkpoint.
"""

import sys
from typing import Any

import numpy as np
import onnxruntime
import redis
from plain import Progress, apply, decision, empty, features
from quixstreams import Application, State
from quixstreams.sinks.community.redis import RedisSink


def main() -> None:
    """Consume until killed."""
    kafka, address, topic_name, group, model_path, bounce, progress_path, folder, how = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = onnxruntime.InferenceSession(model_path, options, providers=["CPUExecutionProvider"])
    name = model.get_inputs()[0].name
    output = model.get_outputs()[1].name
    progress = Progress(progress_path, 50)
    app = Application(
        broker_address=kafka, consumer_group=group, auto_offset_reset="earliest", state_dir=folder, loglevel="WARNING"
    )
    clicks = app.topic(topic_name, value_deserializer="json", key_deserializer="str")
    host, _, port = address.partition(":")
    sink = RedisSink(
        host=host,
        port=int(port),
        db=0,
        key_serializer=lambda key, row: f"decision:{key}",
        value_serializer=lambda row: row["document"],
    )

    direct = redis.Redis(host=host, port=int(port))

    def decide(event: dict[str, Any], store: State) -> dict[str, Any]:
        state = store.get("s") or empty(event["ts"])
        apply(state, event)
        store.set("s", state)
        row = np.array([features(state, float(bounce))])
        probabilities = model.run([output], {name: row})[0][0].tolist()
        session = event["session_id"]
        document = decision(session, probabilities, state["events"])
        if how == "set":
            direct.set(f"decision:{session}", document, ex=1800)
        progress.add()
        return {"session_id": session, "document": document}

    frame = app.dataframe(clicks)
    frame = frame.apply(decide, stateful=True)
    if how == "sink":
        frame.sink(sink)
    app.run()


if __name__ == "__main__":
    main()
