# Recovery on CPUs: docs/docker.md.
FROM python:3.12-slim

# The library, the programs and the weights; nothing that renders, shows or trains on GPUs.
COPY pyproject.toml README.md LICENSE /source/
COPY train3d_jax /source/train3d_jax
COPY data /source/data
COPY launch /source/launch
RUN pip install --no-cache-dir --no-compile --root-user-action=ignore /source && rm -rf /source

# Compiled programs are kept in /cache, and matplotlib's fonts: give it a volume, and later
# containers start in seconds.
RUN useradd --create-home train3d && mkdir --mode 1777 /cache /work
ENV XDG_CACHE_HOME=/cache MPLCONFIGDIR=/cache/matplotlib JAX_PLATFORMS=cpu
USER train3d
WORKDIR /work
VOLUME /cache

ENTRYPOINT ["train3d"]
CMD ["--help"]
