/** critical: the kernel may crash or corrupt memory. error: something is stuck or lost. */
export type Severity = 'info' | 'warning' | 'error' | 'critical';
