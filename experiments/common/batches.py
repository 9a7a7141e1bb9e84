"""The batch of a step as a pure function of a key and the step: there is nothing to save."""

import jax
import jax.numpy as jnp

from zosah_jax.permutation import permute

_PADDING = 4


def batch_places(key: jax.Array, step: jax.Array, size: int, total: int) -> jax.Array:
    """Places of the images of a batch: every image once an epoch, in a new order each.

    Args:
        key: typed PRNG key.
        step: number of the batch, int32 scalar.
        size: images of a batch, at most `total`; what does not fill the last one of an epoch is
            left out.
        total: number of images.

    Returns:
        Places, int32 of shape (size,).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> key = jax.random.key(0)
        >>> seen = [batch_places(key, jnp.int32(k), 2, 6) for k in range(3)]
        >>> sorted(jnp.concatenate(seen).tolist())
        [0, 1, 2, 3, 4, 5]
    """
    in_epoch = total // size
    first = (step % in_epoch) * size
    places = (first + jnp.arange(size, dtype=jnp.int32)).astype(jnp.uint32)
    return permute(jax.random.fold_in(key, step // in_epoch), places, total).astype(jnp.int32)


def augment(key: jax.Array, images: jax.Array) -> jax.Array:
    """Each image shifted by up to 4 pixels each way, and mirrored half the time.

    A crop of the same size is cut, at random, out of the image with 4 pixels of zeros around it
    (He et al., 2016, section 4.2).

    Args:
        key: typed PRNG key.
        images: normalised, so that zero is the mean colour; shape (n, height, width, channels).

    Returns:
        Of the same shape and dtype.
    """
    number, *shape = images.shape
    at, mirrored = jax.random.split(key)
    corners = jax.random.randint(at, (number, 2), 0, 2 * _PADDING + 1)
    mirror = jax.random.bernoulli(mirrored, 0.5, (number,))
    margin = (_PADDING, _PADDING)
    padded = jnp.pad(images, ((0, 0), margin, margin, (0, 0)))

    def one(image: jax.Array, corner: jax.Array, mirror: jax.Array) -> jax.Array:
        crop = jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), shape)
        return jnp.where(mirror, crop[:, ::-1], crop)

    return jax.vmap(one)(padded, corners, mirror)
