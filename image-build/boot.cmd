# What U-Boot runs on every board: chooses a slot by the boot state, counts the start, boots. No saveenv: the state
# is one block of its own, written here and by fw_setenv, with a checksum; a torn one means "A, then B, three each".
if test "${devtype}" = "mmc"; then
  # U-Boot's own places leave a kernel 36 MiB; Debian's is larger.
  setenv kernel_addr_r 0x08000000
  setenv ramdisk_addr_r 0x0c000000
  # Wherever the firmware put the device tree: out of the way of what is loaded next.
  fdt addr ${fdt_addr}
  fdt move ${fdt_addr} 0x0b800000
  setenv fdt_addr 0x0b800000
fi
setenv buffer ${pxefile_addr_r}
part start ${devtype} ${devnum} bootstate state_at
${devtype} dev ${devnum}
${devtype} read ${buffer} ${state_at} 0x8
env import -c ${buffer} 0x1000 BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT
test -n "${BOOT_ORDER}" || setenv BOOT_ORDER "A B"
test -n "${BOOT_A_LEFT}" || setenv BOOT_A_LEFT 3
test -n "${BOOT_B_LEFT}" || setenv BOOT_B_LEFT 3
setenv slot
for s in "${BOOT_ORDER}"; do
  if test "x${slot}" != "x"; then
    # chosen
  elif test "x${s}" = "xA"; then
    if test 0x${BOOT_A_LEFT} -gt 0; then setexpr BOOT_A_LEFT ${BOOT_A_LEFT} - 1; setenv slot A; fi
  elif test "x${s}" = "xB"; then
    if test 0x${BOOT_B_LEFT} -gt 0; then setexpr BOOT_B_LEFT ${BOOT_B_LEFT} - 1; setenv slot B; fi
  fi
done
if test "x${slot}" = "x"; then
  # Both failed three times: from the start again, a door has nothing better to do.
  setenv BOOT_A_LEFT 3
  setenv BOOT_B_LEFT 3
fi
env export -c -s 0x1000 ${buffer} BOOT_ORDER BOOT_A_LEFT BOOT_B_LEFT
${devtype} write ${buffer} ${state_at} 0x8
test "x${slot}" = "x" && reset
part number ${devtype} ${devnum} boot${slot} bootpart
setenv board
load ${devtype} ${devnum}:${distro_bootpart} ${buffer} board.env && env import -t ${buffer} ${filesize} board cmdline
fdt addr ${fdt_addr}
setenv fwargs
fdt get value fwargs /chosen bootargs
setenv bootargs "${fwargs} ro ${cmdline} root=PARTLABEL=root${slot} rootwait portero.slot=${slot} portero.board=${board}"
echo "Portero: slot ${slot} of ${board}"
load ${devtype} ${devnum}:${bootpart} ${kernel_addr_r} vmlinuz && load ${devtype} ${devnum}:${bootpart} ${ramdisk_addr_r} initrd.img && booti ${kernel_addr_r} ${ramdisk_addr_r}:${filesize} ${fdt_addr}
echo "Portero: slot ${slot} does not start"
reset
