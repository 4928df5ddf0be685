/** Units of time: durations and times are ns on the boot-time clock wherever nothing else is said. */

/** ns. */
export const SECOND = 1e9;
