/**
 * Settings that had another name in an earlier version, by their old path, and the path that they have now.
 * An old name is refused with the new one, because two names for one setting would raise the question which
 * one wins. No flag and no environment variable has been renamed.
 */
export const RENAMED_SETTINGS: Readonly<Record<string, string>> = {
  keep: 'retention',
};
