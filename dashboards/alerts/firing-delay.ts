/** When an alert fires, in words. @param seconds for which its expression has to hold */
export function firingDelay(seconds: number): string {
  if (seconds === 0) return 'immediately';
  const minutes = seconds / 60;
  return `after ${minutes} ${minutes === 1 ? 'minute' : 'minutes'}`;
}
