"""An autopsy on the screen: the checkpoint under the cursor, beside the last healthy one."""
