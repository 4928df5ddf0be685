/**
 * Whether two tasks act for different people or programs. Process ids are not compared, because each
 * command of a shell is a process of its own; nor are the ids of control groups where their names are
 * known, because a service gets a new one with each start and a person with each login.
 */
import type { ControlGroup, Host } from '../events/host.ts';
import { ROOT_CGROUP, type Task } from '../events/task.ts';

/** logind's group of all that runs for a person who has logged in: sessions, and services of their own. */
const PERSON = /\/user-(\d+)\.slice(?:\/|$)/;

/** A control group of 0 is not known. */
export function isAnother(one: Task, other: Task, host: Host): boolean {
  if (one.uid !== other.uid) return true;
  if (one.cgroup === other.cgroup || one.cgroup === 0 || other.cgroup === 0) return false;
  // No service, container or person is in the root itself, and it has no other id later.
  if (one.cgroup === ROOT_CGROUP || other.cgroup === ROOT_CGROUP) return true;
  const [first, second] = [one, other].map((task) => host.controlGroup?.(task));
  // Where groups have no names, as in a replay, their ids are all that is known.
  if (!first && !second) return true;
  // One of the two is gone, and was gone before anybody asked for its name.
  if (!first || !second) return false;
  return actorOf(first) !== actorOf(second);
}

/** What stays the same when a service or a container of a pod is restarted, or when a person logs in again. */
function actorOf({ path, unit, container, pod }: ControlGroup): string {
  if (pod !== undefined) return `pod ${pod}`;
  if (container !== undefined) return `container ${container}`;
  const person = PERSON.exec(path)?.[1];
  if (person !== undefined) return `person ${person}`;
  return unit === undefined ? `path ${path}` : `unit ${unit}`;
}
