"""ZO-SAH against DeepZero on a ResNet, with equal tuning."""
