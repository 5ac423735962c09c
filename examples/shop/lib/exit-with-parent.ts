// Preloaded into the control plane: when the driver is gone, however it went, so is this process.
process.on('disconnect', () => process.exit(0))
