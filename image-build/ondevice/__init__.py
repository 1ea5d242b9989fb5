"""What runs on the device besides the station: provisioning and the firewall. Laid into the image beside it."""
