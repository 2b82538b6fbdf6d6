"""Adam by TensorFlow's fused kernel, which Keras 3 does not call; the numbers equal Keras' own.

Keras updates a weight by a dozen operations, TensorFlow by one: a model with some hundred weights is traced in half the
time.
"""

import keras


def adam(*arguments, **options) -> keras.optimizers.Adam:
    """keras.optimizers.Adam with these arguments; on TensorFlow the fused one."""
    # On PyTorch Keras replaces Adam by a parallel one, but only its own class.
    fused = keras.backend.backend() == "tensorflow"
    return (FusedAdam if fused else keras.optimizers.Adam)(*arguments, **options)


class FusedAdam(keras.optimizers.Adam):
    """keras.optimizers.Adam with the same arguments, state and updates, for TensorFlow.

    In float32 on one device a weight is updated by one operation. All else (AMSGrad, sparse gradients, other
    precisions, several replicas) takes Keras' own path.
    """

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        import tensorflow as tf

        weights = [getattr(variable, "value", variable) for variable in trainable_variables]
        if not all(map(self._fits, grads, weights)):
            return super()._backend_update_step(grads, trainable_variables, learning_rate)
        # Once for all weights: a constant and a power for each would be most of the traced graph.
        step = tf.cast(self.iterations + 1, tf.float32)
        beta_1, beta_2, epsilon = (tf.constant(value, tf.float32) for value in (self.beta_1, self.beta_2, self.epsilon))
        shared = {"beta1_power": beta_1**step, "beta2_power": beta_2**step, "lr": tf.cast(learning_rate, tf.float32)}
        shared |= {"beta1": beta_1, "beta2": beta_2, "epsilon": epsilon}
        for gradient, weight in zip(grads, weights, strict=True):
            place = self._get_variable_index(weight)
            moments = {"m": self._momentums[place].value.handle, "v": self._velocities[place].value.handle}
            tf.raw_ops.ResourceApplyAdam(var=weight.handle, grad=gradient, **moments, **shared)
        return None

    def _fits(self, gradient, variable) -> bool:
        dense = not hasattr(gradient, "indices")
        single = self._distribution_strategy.num_replicas_in_sync == 1
        return dense and single and not self.amsgrad and gradient.dtype == variable.dtype == "float32"
