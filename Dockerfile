# segmentd in a container. scripts/image builds this without a Docker engine; with one:
#
#     docker build --tag segmentd .
#
# To change: UID and GID, the user that serves. It sees what the kernel lets that user see, so as a
# sidecar it should be the application's own user, or be in its group; deploy/ shows both.

ARG BUILD_IMAGE=docker.io/library/swift:6.3-bookworm
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
# The versions are those of the Debian release that the base image names.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libmicrohttpd-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Package.swift openapi.yaml ./
COPY scripts/build scripts/
COPY Sources Sources
COPY Tests Tests
RUN mkdir -p /out/usr/bin \
    && install -m 0755 "$(scripts/build -Xlinker -s)" /out/usr/bin/

FROM ${RUNTIME_IMAGE}
ARG UID=10001
ARG GID=10001
# The time that the layers bear, in seconds since 1970; it keeps a cache from giving those of another.
ARG SOURCE_DATE_EPOCH=0
# What the program is linked to, and the user. What differs from one build to the next is removed.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgnutls30 libmicrohttpd12 libstdc++6 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old \
        /var/cache/ldconfig/aux-cache /var/log/apt /var/log/alternatives.log /var/log/dpkg.log \
        /var/lib/dpkg/*-old \
    && printf 'segmentd:x:%s:%s::/nonexistent:/usr/sbin/nologin\n' "$UID" "$GID" >>/etc/passwd \
    && printf 'segmentd:x:%s:\n' "$GID" >>/etc/group
COPY --from=build /out/ /

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="segmentd" \
    org.opencontainers.image.description="Shared-memory segments over HTTP and JSON" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"

USER ${UID}:${GID}
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 \
    CMD ["/usr/bin/segmentd", "health"]
# Where it listens and all else: SEGMENTD_LISTEN and so on, or flags after the image's name.
ENTRYPOINT ["/usr/bin/segmentd"]
