"""What measures routers: anchors, evaluation, cross-validation, calibration."""
