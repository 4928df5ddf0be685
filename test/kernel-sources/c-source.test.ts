import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findSymbol, hasField, stripped } from './c-source.ts';

const SOURCE = stripped(`
/* int commented(void) { } */
#define MACRO(x) \\
int in_a_macro(int x) { }

int declared(struct device *dev);
static int inlinable(const struct device *dev, unsigned int flags)
{
	return declared(dev);
}

static void pointed(struct kref *kref)
{
	pr_info("named(%p) {", kref);
}

struct vdev *
exported(size_t size,
	 const struct ops *ops)
{
	inlinable(size, ops);
	kref_put(&size, pointed);
}

static const struct attribute_group *pointed_groups[] = { NULL };
const struct attribute_group *groups[] = {
	NULL,
};
`);

describe('a symbol', () => {
  const find = (name: string, ...others: string[]) => findSymbol([SOURCE, ...others], name);

  it('has the types of its parameters, whatever they are called', () => {
    assert.deepEqual(find('exported')?.parameters, ['size_t', 'struct ops *']);
    assert.deepEqual(find('inlinable')?.parameters, ['struct device *', 'unsigned int']);
  });

  it('must be kept if it is not static, or if something points to it, in another file too', () => {
    assert.equal(find('exported')?.kept, true);
    assert.equal(find('pointed')?.kept, true);
    assert.equal(find('inlinable')?.kept, false);
    assert.equal(find('inlinable', 'x = inlinable;')?.kept, true);
  });

  it('may be a variable', () => {
    assert.deepEqual(find('groups'), { kept: true });
    assert.equal(find('pointed_groups')?.kept, false);
    assert.equal(find('pointed_groups', '.dev_groups = pointed_groups,')?.kept, true);
  });

  it('needs a definition', () => {
    for (const name of ['declared', 'commented', 'in_a_macro', 'named', 'pr_info', 'export']) {
      assert.equal(find(name), undefined, name);
    }
  });
});

describe('a field', () => {
  const types = [
    stripped(`
struct user { int only_used; };
struct vdev {
	struct device device; /* not: comment; */
	unsigned int open_count, second;
	void (*put_kvm)(struct kvm *kvm);
	unsigned char bits:1;
	int list[4];
	union {
		struct { int tp; } raw;
		struct {
			union { struct { __u64 missed; } kprobe; };
		} perf_event;
	};
};
`),
  ];

  it('may be a value, an array, bits, or a pointer to a function', () => {
    for (const path of ['device', 'open_count', 'second', 'put_kvm', 'bits', 'list']) {
      assert.ok(hasField(types, 'vdev', path), path);
    }
  });

  it('is found through members without a name, and only there', () => {
    assert.ok(hasField(types, 'vdev', 'perf_event.kprobe.missed'));
    for (const path of ['missed', 'kprobe.missed', 'raw.missed', 'perf_event.missed', 'tp']) {
      assert.equal(hasField(types, 'vdev', path), false, path);
    }
  });

  it('is none of another structure, of a type or of a parameter', () => {
    for (const path of ['only_used', 'kvm', 'int', 'comment', 'count']) {
      assert.equal(hasField(types, 'vdev', path), false, path);
    }
  });

  it('needs its structure to be defined', () => {
    assert.ok(hasField(types, 'user'));
    assert.equal(hasField(types, 'device'), false);
  });
});
