import type { Task } from '../events/task.ts';
import { TrackedObject } from './tracked-object.ts';

/**
 * An iommufd context: the object behind an open /dev/iommu. It exists until the last reference on its file is
 * put. Each device that is bound to it has one of these, so it outlives the descriptor of its opener.
 */
export class IommufdContext extends TrackedObject {
  /**
   * The task that opened it; if that was before the agent started, a task that has it open. Undefined while
   * only a device that is bound to it shows that it exists.
   */
  opener: Task | undefined;
  /** When it was opened, 0 if that was not observed. */
  openedAt = 0;
  /** When its file was released, 0 before that, and by whom. */
  closedAt = 0;
  closer: Task | undefined;
  /** Whether it has ended; a host snapshot that does not find it shows no time. */
  override isOver = false;

  override get endBegan(): number {
    return this.closedAt;
  }

  override endUnobserved(): void {
    this.isOver = true;
  }
}
