# In place of docker.io/library/eclipse-mosquitto: Debian's Mosquitto, for the same user and at the same paths.
ARG BASE
FROM ${BASE}
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mosquitto >/dev/null \
 && usermod -u 1883 mosquitto && groupmod -g 1883 mosquitto \
 && install -d -o 1883 -g 1883 /mosquitto /mosquitto/config /mosquitto/data
USER 1883
CMD ["mosquitto", "-c", "/mosquitto/config/mosquitto.conf"]
