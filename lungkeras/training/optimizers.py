"""Adam by TensorFlow's fused kernel, which Keras 3 does not call; the numbers stay Keras' own.

Keras writes the update of a weight as a dozen operations, TensorFlow has it as one: a model of some hundred weights is
traced in half the time.
"""

import keras


def adam(*arguments, **options) -> keras.optimizers.Adam:
    """keras.optimizers.Adam with these arguments; on TensorFlow the fused one."""
    # Keras takes a parallel Adam on PyTorch, but for its own class alone.
    fused = keras.backend.backend() == "tensorflow"
    return (FusedAdam if fused else keras.optimizers.Adam)(*arguments, **options)


class FusedAdam(keras.optimizers.Adam):
    """keras.optimizers.Adam with the same arguments, state and updates, for TensorFlow.

    In float32 on one device a weight is updated by one operation. All else (AMSGrad, sparse gradients, other
    precisions, several replicas) takes Keras' own path.
    """

    def update_step(self, gradient, variable, learning_rate):
        import tensorflow as tf

        if not self._fits(gradient, variable):
            return super().update_step(gradient, variable, learning_rate)
        place = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        return tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def _fits(self, gradient, variable) -> bool:
        dense = not hasattr(gradient, "indices")
        single = self._distribution_strategy.num_replicas_in_sync == 1
        return dense and single and not self.amsgrad and gradient.dtype == variable.dtype == "float32"
