# The gateway, atls-endpoint and atls-simulator in one image of Python, its libraries and these: no shell, no package
# manager. compose.yaml runs it; docs/docker.md tells how.
#
# BASE: any Debian with Python 3.11 or later. Its packages go into the image, the rest of it stays behind.
ARG BASE=docker.io/library/debian:trixie-slim

FROM ${BASE} AS base
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    ca-certificates python3 python3-venv tzdata >/dev/null

# The program in a virtual environment, its hot modules compiled. The libraries come as wheels: none may need a compiler.
# Both stay in this stage, compiler and pip.
FROM base AS program
RUN DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev python3-dev >/dev/null
COPY . /src
RUN python3 -m venv /opt/pip \
 && python3 -m venv --without-pip /opt/atls-gateway \
 && ATLS_GATEWAY_COMPILED=1 /opt/pip/bin/pip --disable-pip-version-check --no-cache-dir --python /opt/atls-gateway/bin/python \
    install --quiet --no-compile --only-binary :all: /src

# The root of the image: the packages that Python needs, without the tools that only install packages.
FROM base AS root
COPY docker/root-of-packages /usr/local/bin/
RUN sh /usr/local/bin/root-of-packages /image python3 tzdata
COPY --from=program /opt/atls-gateway /image/opt/atls-gateway
# The folders' numbers are part of the interface: files on the host are given to them. 5684 is the port of coaps.
RUN cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && echo 'atls:x:5684:5684:ATLS gateway:/nonexistent:/usr/sbin/nologin' >>/image/etc/passwd \
 && echo 'atls:x:5684:' >>/image/etc/group \
 && install -d -m 0755 /image/etc/atls-gateway \
 && install -d -m 0700 -o 5684 -g 5684 /image/var/lib/atls-gateway /image/run/atls-gateway \
 # Compiled here, since a read-only root can't be written to at the first start; and then once in use.
 && chroot /image /opt/atls-gateway/bin/python -m compileall -q --invalidation-mode unchecked-hash \
    /usr/lib/python3* /opt/atls-gateway/lib \
 && chroot /image /opt/atls-gateway/bin/python -c \
    'import adapters.coap.plugin, adapters.http.services, adapters.http.south, adapters.mqtt.plugin, adapters.zigbee.plugin' \
 && chroot /image /opt/atls-gateway/bin/python -c 'import endpoint.cli, simulator.cli'

FROM scratch
ARG VERSION=0.5.0
LABEL org.opencontainers.image.title="atls-gateway" \
      org.opencontainers.image.description="A gateway between ZigBee, CoAP, HTTP and MQTT that forwards end-to-end TLS" \
      org.opencontainers.image.licenses="GPL-3.0-or-later" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.documentation="docs/docker.md"
COPY --from=root /image /
ENV PATH=/opt/atls-gateway/bin:/usr/bin LANG=C.UTF-8 PYTHONUNBUFFERED=1
USER 5684:5684
EXPOSE 5684/udp 8443/tcp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["atls-gateway", "status", "--check"]
ENTRYPOINT ["atls-gateway"]
CMD ["run"]
