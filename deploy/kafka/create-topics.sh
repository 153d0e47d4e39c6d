#!/bin/sh
# Creates the four topics of Clickstage where they do not exist; run once, safe to repeat.
#
#   KAFKA=kafka:19092 PARTITIONS=12 REPLICAS=1 deploy/kafka/create-topics.sh
#
# The number of partitions of `clicks` is the limit of `replicas: N` and cannot be changed later without draining:
# sessions would move to other partitions.
#
# Retention of `clicks` is the guarantee: Redis is rebuilt from it. Keep it longer than an outage plus a day.
# For live clicks set TIMESTAMPS=LogAppendTime: a record's time is then the broker's, and no producer's clock can move it.
# The default keeps the producers' (CreateTime), so that recorded clicks can be replayed into the topic.
set -eu

KAFKA=${KAFKA:-localhost:9092}
PARTITIONS=${PARTITIONS:-12}
REPLICAS=${REPLICAS:-1}
IN_SYNC=${IN_SYNC:-$((REPLICAS > 2 ? 2 : 1))}
TIMESTAMPS=${TIMESTAMPS:-CreateTime}
TOPICS=${TOPICS:-/opt/kafka/bin/kafka-topics.sh}

DAY_MS=86400000

# create NAME PARTITIONS DAYS [TIMESTAMPS]
create() {
    "$TOPICS" --bootstrap-server "$KAFKA" --create --if-not-exists --topic "$1" \
        --partitions "$2" --replication-factor "$REPLICAS" \
        --config "retention.ms=$(($3 * DAY_MS))" \
        --config "min.insync.replicas=$IN_SYNC" \
        --config unclean.leader.election.enable=false \
        --config cleanup.policy=delete \
        --config "message.timestamp.type=${4:-CreateTime}" \
        --config compression.type=producer
}

create clicks "$PARTITIONS" 7 "$TIMESTAMPS"
create decisions "$PARTITIONS" 7
create sessions "$PARTITIONS" 30
create clicks.dlq 3 30
create exposures "$PARTITIONS" 30
