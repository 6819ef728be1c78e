// SPDX-License-Identifier: GPL-2.0
/*
 * For the lab: firmware that refuses to reset SDEI, after SDEI has been set up.
 *
 * A host that comes back from hibernation asks its firmware to reset SDEI.
 * If the firmware refuses, the kernel disables SDEI for good. The lab's
 * firmware never refuses, so this module stands between it and the kernel for
 * one such request, and lets the kernel's own code do the rest.
 */
#include <linux/arm-smccc.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <uapi/linux/arm_sdei.h>

typedef void firmware_call(unsigned long function, unsigned long a, unsigned long b, unsigned long c,
			   unsigned long d, unsigned long e, struct arm_smccc_res *result);
typedef unsigned long find_symbol(const char *name);

static firmware_call *firmware;

static void refuse_reset(unsigned long function, unsigned long a, unsigned long b, unsigned long c,
			 unsigned long d, unsigned long e, struct arm_smccc_res *result)
{
	if (function == SDEI_1_0_FN_SDEI_SHARED_RESET)
		result->a0 = (unsigned long)SDEI_DENIED;
	else
		firmware(function, a, b, c, d, e, result);
}

static int __init sdei_refused_init(void)
{
	struct kprobe finder = { .symbol_name = "kallsyms_lookup_name" };
	find_symbol *find;
	firmware_call **call;
	int (*reset)(void);
	int error = register_kprobe(&finder);

	if (error)
		return error;
	find = (find_symbol *)finder.addr;
	unregister_kprobe(&finder);
	call = (firmware_call **)find("sdei_firmware_call");
	reset = (int (*)(void))find("sdei_platform_reset");
	if (!call || !*call || !reset)
		return -ENOENT;
	firmware = *call;
	*call = refuse_reset;
	/* It forgets the call itself: no pointer to this module stays. */
	reset();
	return *call ? -EBUSY : 0;
}
module_init(sdei_refused_init);

MODULE_DESCRIPTION("Firmware that refuses to reset SDEI");
MODULE_LICENSE("GPL");
