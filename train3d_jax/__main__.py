"""`python -m train3d_jax` is `train3d`."""

from train3d_jax.command import main

main()
