# mypy: ignore-errors
# (checked against packages of another environment)
"""The way it is done at first: poll() a message, HINCRBY a field at a time, predict one row, SET.

python naive.py KAFKA REDIS_URL TOPIC GROUP MODEL BOUNCE PROGRESS_FILE
"""

import json
import sys

import joblib
import numpy as np
import redis
from confluent_kafka import Consumer
from plain import GAP_CAP_MS, PASSIVE, Progress, decision, features


def main() -> None:
    """Consume until killed."""
    kafka, url, topic, group, model_path, bounce, progress_path = sys.argv[1:]
    store = redis.Redis.from_url(url, decode_responses=True)
    model = joblib.load(model_path)
    model.n_jobs = 1  # a thread pool for one row would only slow it down
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    progress = Progress(progress_path, 1)
    while True:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        event = json.loads(message.value())
        session = event["session_id"]
        key, t = f"session:{session}", event["ts"]
        store.hsetnx(key, "t_min", t)
        known = store.hgetall(key)
        store.hset(key, "t_max", max(t, int(known.get("t_max", t))))
        if event["type"] not in PASSIVE:
            if int(known.get("clicks", 0)):
                gap = min(max(t - int(known["last"]), 0), GAP_CAP_MS)
                store.hincrby(key, "gap_sum", gap)
                store.hincrby(key, "gap_n", 1)
                store.lpush(f"{key}:gaps", gap)
                store.ltrim(f"{key}:gaps", 0, 4)
            store.hincrby(key, "clicks", 1)
            store.hset(key, "last", max(t, int(known.get("last", t))))
        if "page" in event:
            store.sadd(f"{key}:pages", event["page"])
        if event["type"] == "add_to_cart":
            store.hincrby(key, "cart", event.get("quantity", 1))
        events = store.hincrby(key, "events", 1)
        now = store.hgetall(key)
        state = {name: int(now.get(name, 0)) for name in ("t_min", "t_max", "clicks", "cart", "gap_sum", "gap_n")}
        state |= {
            "pages": list(store.smembers(f"{key}:pages")),
            "gaps": [int(g) for g in store.lrange(f"{key}:gaps", 0, 4)],
        }
        probabilities = model.predict_proba(np.array([features(state, float(bounce))]))[0].tolist()
        store.set(f"decision:{session}", decision(session, probabilities, events), ex=1800)
        progress.add()


if __name__ == "__main__":
    main()
